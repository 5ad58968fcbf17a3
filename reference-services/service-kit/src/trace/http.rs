//! Requests as spans, in the words of OpenTelemetry's semantic conventions for HTTP.

use std::fmt;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use super::{KeyValue, Span, SpanKind, TRACEPARENT};
use crate::metrics::{grpc_status, method_label};

/// Further words about the trace that `traceparent` names.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Serves a request in a span of its own. What handlers find in the header `traceparent` is that
/// span: the parent of everything that they cause.
pub(crate) async fn served(mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map(|route| route.as_str().to_owned());
    let method = method_label(request.method());
    let headers = request.headers();
    let parent = headers.get(TRACEPARENT).and_then(|it| it.to_str().ok());
    let mut span = match &route {
        Some(route) => Span::begin(SpanKind::Server, format_args!("{method} {route}"), parent),
        None => Span::begin(SpanKind::Server, method, parent),
    };
    span.describe(|| {
        let path = request.uri().path().to_owned();
        [
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.path", path),
            KeyValue::new("url.scheme", "http"),
        ]
        .into_iter()
        .chain(route.map(|route| KeyValue::new("http.route", route)))
    });

    let continues = parent.is_some_and(|parent| span.context().is_in_trace_of(parent));
    let headers = request.headers_mut();
    if !continues {
        // It told about a trace that is not continued.
        headers.remove(TRACESTATE);
    }
    headers.insert(TRACEPARENT, span.header());
    let lines = tracing::info_span!("request", trace = %span.context().trace_id());
    let response = next.run(request).instrument(lines).await;

    let status = response.status();
    span.describe(|| [status_attribute(status)]);
    let grpc = grpc_status(response.headers());
    span.describe(|| grpc.map(|it| KeyValue::new("rpc.grpc.status_code", i64::from(it.code))));
    let meant = grpc.map_or(status, |it| it.as_http());
    if meant.is_server_error() {
        span.fail(meant.as_str(), meant);
    }
    response
}

/// The span of a request that is about to be sent to `url`; its header `traceparent` is to be this
/// span's. `target` is whom or what it is for, without what differs from request to request.
pub fn calling(
    method: &Method,
    target: &str,
    url: &impl fmt::Display,
    parent: Option<&str>,
) -> Span {
    let method = method_label(method);
    let mut span = Span::begin(SpanKind::Client, format_args!("{method} {target}"), parent);
    span.describe(|| {
        let url = url.to_string();
        let parsed: Option<Uri> = url.parse().ok();
        let host = parsed.as_ref().and_then(|url| url.host());
        let host = host.map(|host| KeyValue::new("server.address", host.to_owned()));
        let port = parsed.as_ref().and_then(Uri::port_u16).map(i64::from);
        let port = port.map(|port| KeyValue::new("server.port", port));
        [
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.full", url),
        ]
        .into_iter()
        .chain(host)
        .chain(port)
    });
    span
}

/// Notes what a called server has answered.
pub fn answered(span: &mut Span, status: StatusCode) {
    span.describe(|| [status_attribute(status)]);
    if status.is_client_error() || status.is_server_error() {
        span.fail(status.as_str(), status);
    }
}

fn status_attribute(status: StatusCode) -> KeyValue {
    KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
}
