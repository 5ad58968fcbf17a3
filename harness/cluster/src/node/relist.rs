//! The kubelet's look at its containers, by which it notices that they have started or ended.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::ticks::next_tick;

/// How often the kubelet looks.
pub(crate) const RELIST_PERIOD: Duration = Duration::from_secs(1);

/// Tokio's timers are no finer.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

/// A look once in a period, counted from the node's start: what happens in a pod waits for it
/// between no time and a whole period. Whoever has something to be noticed waits by himself, so that
/// a node where nothing starts or ends does not wake up to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relist {
    origin: Instant,
    period: Duration,
}

impl Relist {
    /// The looks of a node that starts now.
    pub(super) fn starting_now(period: Duration) -> Self {
        Self {
            origin: Instant::now(),
            period: period.max(SHORTEST_PERIOD),
        }
    }

    pub(super) fn period(self) -> Duration {
        self.period
    }

    /// Waits for the next look.
    pub(crate) async fn next(self) {
        sleep_until(next_tick(self.origin, self.period, Instant::now())).await;
    }
}
