//! Distributed traces: where something stands in one, and the spans that it is made of. Every request
//! that is served or sent and every event that is told or heard of is a span, whether or not spans
//! are told to a collector ([`crate::telemetry`]): so the trace goes on behind who tells nothing.

mod context;
mod http;
mod span;

pub use self::context::{InvalidTraceContext, TRACEPARENT, TraceContext};
pub(crate) use self::http::served;
pub use self::http::{answered, calling};
pub(crate) use self::span::record_with;
pub use self::span::{KeyValue, Span, SpanKind};
