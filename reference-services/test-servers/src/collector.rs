//! A collector of traces that keeps what it is told: OTLP over HTTP, in protobuf.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A span as a service has told it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldSpan {
    /// Who told it.
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    /// Lower-case hexadecimal digits, as in a `traceparent`; so are the two that follow.
    pub trace: String,
    pub id: String,
    /// Empty where it is the first of its trace.
    pub parent: String,
    pub attributes: BTreeMap<String, String>,
    pub has_failed: bool,
}

/// A running collector; it ends with this value.
#[derive(Debug)]
pub struct Collector {
    url: String,
    told: watch::Receiver<Vec<ToldSpan>>,
    server: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Collector {
    /// Starts a collector on a free port.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, told) = watch::channel(Vec::new());
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::new(sender));
        let server = tokio::spawn(async move {
            let ended = axum::serve(listener, router).await;
            ended.expect("axum's server has no error to return");
        });
        Ok(Self {
            url: format!("http://{address}"),
            told,
            server,
        })
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All spans told so far, once they are `enough`.
    pub async fn until(&self, enough: impl Fn(&[ToldSpan]) -> bool) -> Vec<ToldSpan> {
        let mut told = self.told.clone();
        let told = told.wait_for(|told| enough(told)).await;
        told.expect("the sender lives in the server, which lives as long as this")
            .clone()
    }
}

async fn take(
    State(told): State<Arc<watch::Sender<Vec<ToldSpan>>>>,
    body: Bytes,
) -> impl IntoResponse {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let spans = request.resource_spans.into_iter().flat_map(spans);
    told.send_modify(|told| told.extend(spans));
    // An empty answer says that everything was taken.
    ([(header::CONTENT_TYPE, "application/x-protobuf")], "").into_response()
}

fn spans(of_service: ResourceSpans) -> Vec<ToldSpan> {
    let resource = of_service.resource.unwrap_or_default();
    let mut resource = attributes(resource.attributes);
    let service = resource.remove("service.name").unwrap_or_default();
    let spans = of_service.scope_spans.into_iter().flat_map(|it| it.spans);
    spans
        .map(|span| ToldSpan {
            service: service.clone(),
            kind: span.kind(),
            trace: hexadecimal(&span.trace_id),
            id: hexadecimal(&span.span_id),
            parent: hexadecimal(&span.parent_span_id),
            has_failed: span.status.is_some_and(|it| it.code() == SpanStatus::Error),
            attributes: attributes(span.attributes),
            name: span.name,
        })
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .into_iter()
        .map(|it| (it.key, text(it.value)))
        .collect()
}
