//! Runs controllers in a test until nothing is left to do, in a fixed order.

use tokio::time::Instant;

use super::Controller;
use super::runner::Runner;
use crate::store::Store;

/// As many reconciliations as no test needs.
const TOO_MANY: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct Settling {
    runners: Vec<Runner>,
    /// The time which the controllers see when to look again.
    pub(super) now: Instant,
}

impl Settling {
    pub(super) fn new(store: &Store, controllers: Vec<Box<dyn Controller>>) -> Self {
        let runners = controllers.into_iter();
        Self {
            runners: runners.map(|one| Runner::new(store, one)).collect(),
            now: Instant::now(),
        }
    }

    /// Lets the controllers work until nothing moves; returns how many
    /// reconciliations that took.
    pub(super) fn settle(&mut self) -> usize {
        for count in 0..TOO_MANY {
            let now = self.now;
            if !self.runners.iter_mut().any(|runner| runner.step(now)) {
                return count;
            }
        }
        panic!("the controllers do not come to rest: {:?}", self.runners);
    }
}
