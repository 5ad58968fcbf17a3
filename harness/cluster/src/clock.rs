//! The one place that reads the wall clock.
//!
//! Kubernetes writes times with a resolution of one second.

use k8s_openapi::jiff::{Timestamp, Unit};

/// The current time, truncated to whole seconds.
pub(crate) fn now() -> Timestamp {
    truncated(Timestamp::now())
}

/// The current time with sub-second precision, for fields of type `MicroTime`.
pub(crate) fn now_precise() -> Timestamp {
    Timestamp::now()
}

/// A time as Kubernetes writes fields of type `MicroTime`: `2026-11-22T19:48:26.123456Z`.
pub(crate) fn rfc3339_micro(time: Timestamp) -> String {
    format!("{time:.6}")
}

pub(crate) fn truncated(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A time as Kubernetes writes it: `2026-11-22T19:48:26Z`.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    truncated(time).to_string()
}

/// How long ago `time` was, in whole seconds; 0 for a time to come.
pub(crate) fn seconds_since(time: Timestamp, now: Timestamp) -> u64 {
    let span = now
        .since((Unit::Second, time))
        .map_or(0, |span| span.get_seconds());
    u64::try_from(span).unwrap_or(0)
}
