//! The names by which one request is found again in all logs: `x-request-id` and `traceparent`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use service_kit::chance::Chance;
use service_kit::trace::{TRACEPARENT, TraceContext};
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest request id that is taken over from a client.
const LONGEST_ID: usize = 128;

/// Gives each request an id and a place in a trace, its client's own where it has sensible ones. The
/// id is told in the answer.
pub async fn correlate(
    State(chance): State<Arc<Chance>>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers_mut();
    let id = headers
        .get(REQUEST_ID)
        .filter(|id| is_sensible(id))
        .cloned()
        .unwrap_or_else(|| value(&format!("{:032x}", chance.identifier())));
    headers.insert(REQUEST_ID, id.clone());
    let parent = headers
        .get(TRACEPARENT)
        .and_then(|header| header.to_str().ok()?.parse::<TraceContext>().ok());
    let trace = match parent {
        Some(parent) => parent.child(&chance),
        None => {
            // It told about a trace that is not continued.
            headers.remove(TRACESTATE);
            TraceContext::begin(&chance)
        }
    };
    headers.insert(TRACEPARENT, value(&trace.to_string()));

    let span = tracing::info_span!("request", id = ?id, trace = %trace.trace_id());
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Short, and nothing in it that could be taken for something else in a log.
fn is_sensible(id: &HeaderValue) -> bool {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b);
    (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("hexadecimal digits make a header value")
}
