//! The place of something in a distributed trace, as W3C's `traceparent` says it (Trace Context).

use std::fmt;
use std::str::FromStr;

use axum::http::HeaderName;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The header that carries a [`TraceContext`].
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace and the span that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

/// Text that is not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct InvalidTraceContext;

impl TraceContext {
    /// The first span of a trace of its own, which nobody records.
    pub(super) fn begin() -> Self {
        Self {
            trace: rand::random_range(1..=u128::MAX),
            span: random_span(),
            flags: 0,
        }
    }

    /// A span below this one, in the same trace.
    pub(super) fn child(self) -> Self {
        Self {
            span: random_span(),
            ..self
        }
    }

    /// Whether `traceparent` is of the same trace.
    pub(super) fn is_in_trace_of(self, traceparent: &str) -> bool {
        let other: Result<Self, _> = traceparent.parse();
        other.is_ok_and(|other| other.trace == self.trace)
    }

    /// What all spans of the trace have in common, for log lines.
    pub fn trace_id(self) -> impl fmt::Display {
        format!("{:032x}", self.trace)
    }
}

/// Zero would mean that there is none.
fn random_span() -> u64 {
    rand::random_range(1..=u64::MAX)
}

impl From<&SpanContext> for TraceContext {
    fn from(context: &SpanContext) -> Self {
        Self {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
            flags: context.trace_flags().to_u8(),
        }
    }
}

impl From<TraceContext> for SpanContext {
    /// As that of a span in another process.
    fn from(context: TraceContext) -> Self {
        Self::new(
            TraceId::from(context.trace),
            SpanId::from(context.span),
            TraceFlags::new(context.flags),
            true,
            TraceState::default(),
        )
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace, self.span, self.flags
        )
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceContext;

    /// Of a version newer than 00, understands the fields that 00 has.
    fn from_str(text: &str) -> Result<Self, InvalidTraceContext> {
        let mut fields = text.split('-');
        let mut next = |digits| number(fields.next(), digits);
        let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let is_whole = fields.next().is_none();
        let is_known = (version == 0 && is_whole) || (1..0xff).contains(&version);
        if !is_known || trace == 0 || span == 0 {
            return Err(InvalidTraceContext);
        }
        Ok(Self {
            trace,
            span: u64::try_from(span).map_err(|_| InvalidTraceContext)?,
            flags: u8::try_from(flags).map_err(|_| InvalidTraceContext)?,
        })
    }
}

/// A number of exactly so many lower-case hexadecimal digits.
fn number(field: Option<&str>, digits: usize) -> Result<u128, InvalidTraceContext> {
    field
        .filter(|text| text.len() == digits)
        .filter(|text| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        .and_then(|text| u128::from_str_radix(text, 16).ok())
        .ok_or(InvalidTraceContext)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_survives_being_written_down() {
        let context: TraceContext = PARENT.parse().unwrap();
        assert_eq!(context.to_string(), PARENT);
        let begun = TraceContext::begin();
        assert_eq!(begun.to_string().parse(), Ok(begun));
        assert_eq!(TraceContext::from(&SpanContext::from(context)), context);
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let parent: TraceContext = PARENT.parse().unwrap();
        let child = parent.child();
        assert_eq!(child.trace_id().to_string(), parent.trace_id().to_string());
        assert_ne!(child, parent);
        assert!(child.to_string().ends_with("-01"));
    }

    #[test]
    fn a_newer_version_may_say_more() {
        let newer = format!("cc{}-what-the-future-holds", &PARENT[2..]);
        assert_eq!(newer.parse::<TraceContext>().unwrap().to_string(), PARENT);
    }

    #[test]
    fn other_text_is_no_trace() {
        for text in [
            "",
            "00",
            &PARENT[1..],
            &PARENT.to_uppercase(),
            &format!("{PARENT}-more"),
            &format!("ff{}", &PARENT[2..]),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(
                text.parse::<TraceContext>(),
                Err(InvalidTraceContext),
                "{text}"
            );
        }
    }
}
