//! What a request is called, so that whatever it causes can name it.

use axum::http::HeaderMap;
use service_kit::events::EventId;
use service_kit::trace::TraceContext;

use crate::ports::{Cause, Origin};

/// The request's own `x-request-id`, else a new one, and its `traceparent`.
pub(super) fn of_request(headers: &HeaderMap) -> Cause {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_id =
        |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let id = text("x-request-id").filter(is_id).map(str::to_owned);
    let traceparent = text("traceparent")
        .and_then(|text| text.parse::<TraceContext>().ok())
        .map(|parent| parent.to_string());
    Cause {
        origin: Origin::Request {
            id: id.unwrap_or_else(|| EventId::random().to_string()),
        },
        traceparent,
    }
}
