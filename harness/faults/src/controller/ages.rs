//! When the time of faults is over by a clock that nobody sets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::injection::{FaultInjection, LONGEST};

/// So long after the end of a fault nobody asks for it any more, or it is seen as if for the first time.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// When each fault is over, by the UIDs of their objects, from what the clock said when it was first seen.
#[derive(Debug, Default)]
pub(super) struct Ages(Mutex<HashMap<String, Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    not_after: Timestamp,
    over: Instant,
}

impl Ages {
    /// When the fault that ends at `not_after` is over; it is seen at `now` by the clock.
    pub(super) fn over(
        &self,
        injection: &FaultInjection,
        not_after: Timestamp,
        now: Timestamp,
    ) -> Instant {
        let left = Duration::try_from(not_after.duration_since(now)).unwrap_or_default();
        let steady = Instant::now();
        let first = Seen {
            not_after,
            over: steady + left.min(LONGEST.unsigned_abs()),
        };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, seen| steady < seen.over + KEPT);
        let known = seen.entry(injection.uid().unwrap_or_default());
        let known = known.or_insert(first);
        if known.not_after != not_after {
            *known = first;
        }
        known.over
    }
}
