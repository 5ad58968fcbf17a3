//! siege's rule for a target that is not there: after so many failed transactions it gives up.

use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_core::event::StopCause;
use tokio::sync::mpsc::UnboundedSender;

/// Counts failed transactions and ends the run when they are too many.
#[derive(Debug)]
pub(super) struct Patience {
    /// Failed transactions that are too many; zero: never.
    limit: u64,
    failed: AtomicU64,
    stop: UnboundedSender<StopCause>,
}

impl Patience {
    pub(super) fn new(limit: u64, stop: UnboundedSender<StopCause>) -> Self {
        Self {
            limit,
            failed: AtomicU64::new(0),
            stop,
        }
    }

    /// Adds failed transactions.
    pub(super) fn wear(&self, failed: u64) {
        let before = self.failed.fetch_add(failed, Ordering::Relaxed);
        if before < self.limit && before + failed >= self.limit {
            let words = format!("{} failed transactions, siege's limit", self.limit);
            // A run that has ended needs no stopping.
            drop(self.stop.send(StopCause::StopCondition(words)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_is_ended_once() {
        let (stop, mut stopped) = tokio::sync::mpsc::unbounded_channel();
        let patience = Patience::new(3, stop.clone());
        for failed in [1, 1, 0] {
            patience.wear(failed);
        }
        assert!(stopped.is_empty());
        for failed in [2, 1] {
            patience.wear(failed);
        }
        let cause = stopped.try_recv().unwrap();
        assert!(matches!(cause, StopCause::StopCondition(words) if words.contains('3')));
        assert!(stopped.is_empty());
        let endless = Patience::new(0, stop);
        endless.wear(1_000_000);
        assert!(stopped.is_empty());
    }
}
