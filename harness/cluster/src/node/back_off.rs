//! How long a container that ended waits before it is started again.

use std::time::Duration;

const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// A container that ran for longer than this starts with a clean slate.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// The first restart is immediate, then the delay doubles with each one. It counts from the exit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BackOff {
    next: Duration,
}

impl BackOff {
    /// For what is not tried again at once: pulling an image.
    pub(crate) fn without_free_attempt() -> Self {
        Self { next: FIRST_DELAY }
    }

    /// The delay after something failed.
    pub(crate) fn after_failure(&mut self) -> Duration {
        self.after_exit(Duration::ZERO)
    }

    /// The delay after an exit, given how long the container had run.
    pub(crate) fn after_exit(&mut self, ran_for: Duration) -> Duration {
        let delay = if ran_for > FORGIVEN_AFTER {
            Duration::ZERO
        } else {
            self.next
        };
        self.next = (delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_from_ten_seconds_up_to_five_minutes() {
        let mut back_off = BackOff::default();
        let delays: Vec<u64> = (0..8)
            .map(|_| back_off.after_exit(Duration::from_secs(1)).as_secs())
            .collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn an_image_is_not_pulled_again_at_once() {
        let mut back_off = BackOff::without_free_attempt();
        let delays = [(); 3].map(|()| back_off.after_failure().as_secs());
        assert_eq!(delays, [10, 20, 40]);
    }

    #[test]
    fn a_long_run_is_forgiven() {
        let mut back_off = BackOff::default();
        for _ in 0..4 {
            back_off.after_exit(Duration::from_secs(1));
        }
        assert_eq!(
            back_off.after_exit(Duration::from_secs(601)),
            Duration::ZERO
        );
        assert_eq!(
            back_off.after_exit(Duration::from_secs(1)),
            Duration::from_secs(10)
        );
    }
}
