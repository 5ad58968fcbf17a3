//! The moment at which the harm is over whatever happens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use crate::error::Error;

/// The longest that any harm may last, and some time to get it started.
const LONGEST: Duration = Duration::from_secs(35 * 60);

/// How late a clock that was set is noticed.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// A moment by two clocks, of which the first one to reach it counts: one of them may be set, the
/// other one does not run while the machine is asleep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    unix: Duration,
    steady: Instant,
}

impl Deadline {
    /// A moment in seconds since 1970; it may have passed.
    pub(crate) fn new(until: u64) -> Result<Self, Error> {
        let unix = Duration::from_secs(until);
        let left = unix.saturating_sub(unix_time());
        if left > LONGEST {
            return Err(Error::Arguments(format!(
                "--until {until} is {} s from now: no harm lasts longer than {} s",
                left.as_secs(),
                LONGEST.as_secs()
            )));
        }
        Ok(Self {
            unix,
            steady: Instant::now() + left,
        })
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.left().is_zero()
    }

    /// In seconds since 1970.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.unix.as_secs()
    }

    /// Returns when the moment has come.
    pub(crate) async fn reached(&self) {
        loop {
            let left = self.left();
            if left.is_zero() {
                return;
            }
            sleep(left.min(BETWEEN_LOOKS)).await;
        }
    }

    fn left(&self) -> Duration {
        let steady = self.steady.saturating_duration_since(Instant::now());
        steady.min(self.unix.saturating_sub(unix_time()))
    }
}

/// Since 1970. A clock before that is as good as one that has not started.
fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_past_is_over_and_the_far_future_is_refused() {
        let now = unix_time().as_secs();
        assert!(Deadline::new(0).unwrap().has_passed());
        assert!(!Deadline::new(now + 60).unwrap().has_passed());
        let error = Deadline::new(now + 24 * 60 * 60).unwrap_err();
        assert!(error.is_input(), "{error}");
    }

    #[tokio::test]
    async fn either_clock_ends_it() {
        let soon = Deadline::new(unix_time().as_secs() + 60).unwrap();
        let clock_was_set_back = Deadline {
            steady: Instant::now(),
            ..soon
        };
        assert!(clock_was_set_back.has_passed());
        let machine_was_asleep = Deadline {
            unix: unix_time(),
            ..soon
        };
        machine_was_asleep.reached().await;
    }
}
