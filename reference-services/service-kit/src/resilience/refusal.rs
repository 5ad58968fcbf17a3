//! Why a request was refused, as told to the client.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use std::time::Duration;

use crate::problem::Problem;

/// The response header that carries the [`RefusalReason`].
pub const REFUSAL_REASON: HeaderName = HeaderName::from_static("x-refusal-reason");

/// The response header that tells of the circuit which protects the service's calls to another:
/// `open;reason=failure_rate;changes=3`, a structured field (RFC 9651).
pub const CIRCUIT: HeaderName = HeaderName::from_static("x-circuit");

/// The closed list of reasons for which a service refuses a request it would otherwise have served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The circuit is open: the other service was not called.
    BreakerOpen,
    /// Too many calls to the other service are under way: it was not called.
    BulkheadFull,
    /// The other service did not answer in time; whether it acted is unknown.
    Timeout,
    /// The other service could not be reached.
    Connect,
    /// The other service answered that it failed, or broke its answer off.
    UpstreamError,
    /// No database connection became free in time.
    PoolExhausted,
    /// As many requests as the service is willing to have in hand at once are in hand.
    Shed,
}

impl RefusalReason {
    /// The value of the header `x-refusal-reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker-open",
            Self::BulkheadFull => "bulkhead-full",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::UpstreamError => "upstream-error",
            Self::PoolExhausted => "pool-exhausted",
            Self::Shed => "shed",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            Self::BreakerOpen
            | Self::BulkheadFull
            | Self::Connect
            | Self::PoolExhausted
            | Self::Shed => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamError => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The answer to the refused request.
    pub fn problem(self, detail: impl Into<String>) -> Problem {
        Problem::new(self.status(), detail)
            .with_header(REFUSAL_REASON, HeaderValue::from_static(self.as_str()))
    }
}

/// `duration` as a value of the header `Retry-After`: whole seconds, at least one.
pub fn retry_after(duration: Duration) -> HeaderValue {
    HeaderValue::from(duration.as_secs_f64().ceil().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_are_rounded_up_to_whole_seconds() {
        for (millis, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (4900, "5")] {
            assert_eq!(retry_after(Duration::from_millis(millis)), header);
        }
    }
}
