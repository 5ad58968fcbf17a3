//! What a proxy did: the evidence of injection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// Each count only grows.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Accepted ones.
    pub(super) connections: AtomicU64,
    /// Of them, those that were swallowed.
    pub(super) held: AtomicU64,
    /// Of them, those whose upstream could not be reached.
    pub(super) unreachable: AtomicU64,
    pub(super) requests: AtomicU64,
    /// Requests, or pieces of the upstream's bytes, that were delayed.
    pub(super) delayed: AtomicU64,
    /// Of all of them together.
    pub(super) delay_microseconds: AtomicU64,
    /// Requests that were answered here.
    pub(super) errors: AtomicU64,
    /// Connections that were reset on purpose.
    pub(super) aborts: AtomicU64,
}

impl Counts {
    /// Counts a delay, unless there was none.
    pub(super) fn delayed(&self, delay: Duration) {
        if !delay.is_zero() {
            increment(&self.delayed);
            let microseconds = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
            self.delay_microseconds
                .fetch_add(microseconds, Ordering::Relaxed);
        }
    }

    pub(super) fn as_json(&self) -> Value {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        json!({
            "connections": read(&self.connections),
            "held": read(&self.held),
            "unreachable": read(&self.unreachable),
            "requests": read(&self.requests),
            "delayed": read(&self.delayed),
            "delayMicroseconds": read(&self.delay_microseconds),
            "errors": read(&self.errors),
            "aborts": read(&self.aborts),
        })
    }
}

/// Counts one more; returns how many there were before.
pub(super) fn increment(count: &AtomicU64) -> u64 {
    count.fetch_add(1, Ordering::Relaxed)
}
