//! How many circuits of one service may be open at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::breaker::{Breaker, CircuitState};

/// The circuits of the endpoints of one service, counted. A circuit that is not closed is out.
#[derive(Debug)]
pub(super) struct Fleet {
    max_out_percent: usize,
    endpoints: AtomicUsize,
    out: AtomicUsize,
}

impl Fleet {
    pub(super) fn new(max_out_percent: usize) -> Self {
        Self {
            max_out_percent,
            endpoints: AtomicUsize::new(0),
            out: AtomicUsize::new(0),
        }
    }

    pub(super) fn set_endpoints(&self, endpoints: usize) {
        self.endpoints.store(endpoints, Ordering::Relaxed);
    }

    /// Keeps count after a step of one circuit, and closes it again if it opened as one too many.
    pub(super) fn after_step(&self, before: CircuitState, breaker: &mut Breaker, now: Duration) {
        let was_out = before != CircuitState::Closed;
        let is_out = breaker.state() != CircuitState::Closed;
        if was_out && !is_out {
            self.left(before);
        } else if is_out && !was_out && !self.go_out() {
            breaker.keep_closed(now);
        }
    }

    /// A circuit is out no more, or gone.
    pub(super) fn left(&self, state: CircuitState) {
        if state != CircuitState::Closed {
            self.out.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn go_out(&self) -> bool {
        let most = self.endpoints.load(Ordering::Relaxed) * self.max_out_percent;
        let one_more = |out| ((out + 1) * 100 <= most).then_some(out + 1);
        let gone = self
            .out
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        gone.is_ok()
    }
}
