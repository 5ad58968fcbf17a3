//! How long what failed waits before it is tried again.

use std::time::Duration;

use tokio::time::Instant;

pub(crate) const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// A container that ran for longer than this starts with a clean slate.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// The delay after one that was not enough.
pub(crate) fn longer(delay: Duration) -> Duration {
    (delay * 2).min(LONGEST_DELAY)
}

/// When a container may be started again. The first restart is immediate, then each makes the next
/// one wait for longer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BackOff(Option<Restart>);

#[derive(Clone, Copy, Debug)]
struct Restart {
    at: Instant,
    /// From the next exit to the next restart.
    delay: Duration,
}

impl BackOff {
    /// Asks for a restart at `now` after the exit that is known. What is refused may be asked for
    /// again when this time has passed since the exit.
    pub(crate) fn restart(&mut self, exit: Instant, now: Instant) -> Result<(), Duration> {
        let recent = self
            .0
            .filter(|restart| exit.saturating_duration_since(restart.at) <= FORGIVEN_AFTER);
        let delay = match recent {
            None => FIRST_DELAY,
            Some(Restart { delay, .. }) if now < exit + delay => return Err(delay),
            Some(Restart { delay, .. }) => longer(delay),
        };
        self.0 = Some(Restart { at: now, delay });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// How long a container that ends `ran_for` after each start waits for its restarts.
    fn delays(ran_for: &[u64]) -> Vec<u64> {
        let mut back_off = BackOff::default();
        let mut now = Instant::now();
        let restart = |ran_for: &u64| {
            let exit = now + seconds(*ran_for);
            let delay = back_off.restart(exit, exit).err().unwrap_or_default();
            now = exit + delay;
            if !delay.is_zero() {
                assert_eq!(back_off.restart(exit, now), Ok(()), "the delay is over");
            }
            delay.as_secs()
        };
        ran_for.iter().map(restart).collect()
    }

    #[test]
    fn delays_double_from_ten_seconds_up_to_five_minutes() {
        assert_eq!(delays(&[1; 8]), [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_long_run_is_forgiven() {
        assert_eq!(delays(&[1, 1, 1, 600, 601, 1]), [0, 10, 20, 40, 0, 10]);
    }

    #[test]
    fn what_is_asked_for_late_need_not_wait() {
        let mut back_off = BackOff::default();
        let exit = Instant::now();
        assert_eq!(back_off.restart(exit, exit), Ok(()));
        assert_eq!(back_off.restart(exit, exit + seconds(9)), Err(seconds(10)));
        assert_eq!(back_off.restart(exit, exit + seconds(30)), Ok(()));
        assert_eq!(
            back_off.restart(exit, exit + seconds(30)),
            Ok(()),
            "20 s are over"
        );
        assert_eq!(back_off.restart(exit, exit + seconds(30)), Err(seconds(40)));
    }
}
