//! Spans: what took how long, because of what.

use std::fmt;
use std::sync::OnceLock;

use axum::http::HeaderValue;
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{Span as _, Status, TraceContextExt as _, Tracer as _};
use opentelemetry_sdk::trace::SdkTracer;

use super::TraceContext;

/// Whom spans are told. Of the whole process, as the log is.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Has all spans that begin from now on recorded by `tracer`, unless some are recorded already.
pub(crate) fn record_with(tracer: SdkTracer) {
    // Whoever comes second changes nothing.
    drop(TRACER.set(tracer));
}

/// Something that began and has not ended; it ends with this value.
pub struct Span {
    context: TraceContext,
    recorded: Option<opentelemetry_sdk::trace::Span>,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.context).finish()
    }
}

impl Span {
    /// Begins a span below `parent`, a `traceparent`; in a trace of its own where that is absent or
    /// cannot be read. The name is written down only where somebody is told.
    pub fn begin(kind: SpanKind, name: impl fmt::Display, parent: Option<&str>) -> Self {
        let parent = parent.and_then(|text| text.parse::<TraceContext>().ok());
        let recorded = TRACER
            .get()
            .map(|tracer| record(tracer, kind, name.to_string(), parent))
            // There is none after the last word to the collector.
            .filter(|span| span.span_context().is_valid());
        Self {
            context: match &recorded {
                Some(span) => span.span_context().into(),
                None => parent.map_or_else(TraceContext::begin, TraceContext::child),
            },
            recorded,
        }
    }

    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// For whatever follows from this span.
    pub fn traceparent(&self) -> String {
        self.context.to_string()
    }

    /// The same as the value of a header.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::try_from(self.traceparent()).expect("hexadecimal digits make a header value")
    }

    /// Says more about this span; asked for only where somebody is told.
    pub fn describe<A>(&mut self, attributes: impl FnOnce() -> A)
    where
        A: IntoIterator<Item = KeyValue>,
    {
        if let Some(span) = self.recorded.as_mut().filter(|span| span.is_recording()) {
            span.set_attributes(attributes());
        }
    }

    /// Says that this has failed: with an error of this type (short and of few values), told like
    /// this.
    pub fn fail(&mut self, r#type: &str, told: impl fmt::Display) {
        self.describe(|| [KeyValue::new("error.type", r#type.to_owned())]);
        if let Some(span) = &mut self.recorded {
            span.set_status(Status::error(told.to_string()));
        }
    }
}

fn record(
    tracer: &SdkTracer,
    kind: SpanKind,
    name: String,
    parent: Option<TraceContext>,
) -> opentelemetry_sdk::trace::Span {
    let around = opentelemetry::Context::new();
    let around = match parent {
        Some(parent) => around.with_remote_span_context(parent.into()),
        None => around,
    };
    let builder = tracer.span_builder(name).with_kind(kind);
    tracer.build_with_context(builder, &around)
}
