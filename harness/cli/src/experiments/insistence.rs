//! Trying again until something works.

use std::time::Duration;

use crate::failure::Failure;
use crate::repeated::Repeated;

/// The pause after the first failure; each next one is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pause after so many failures in a row.
pub(super) fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1);
    PAUSE
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LONGEST_PAUSE)
}

/// Tries until it works, or until `given_up`: then the latest failure is returned.
pub(super) async fn insist<Attempt>(
    mut attempt: impl FnMut() -> Attempt,
    given_up: impl Future<Output = ()>,
) -> Result<(), Failure>
where
    Attempt: Future<Output = Result<(), Failure>>,
{
    tokio::pin!(given_up);
    let mut words = Repeated::default();
    let mut failures = 0;
    loop {
        let Err(failure) = attempt().await else {
            words.end();
            return Ok(());
        };
        failures += 1;
        words.say(&failure.to_string());
        tokio::select! {
            () = tokio::time::sleep(pause(failures)) => {}
            () = &mut given_up => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::{Instant, sleep};

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [1, 2, 3, 4, 5, 6, 7, u32::MAX].map(|failures| pause(failures).as_secs());
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_until_it_works() {
        let begun = Instant::now();
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            ready(if attempts < 4 {
                Err(Failure::carrying_out("not yet"))
            } else {
                Ok(())
            })
        };
        insist(attempt, pending()).await.unwrap();
        assert_eq!(attempts, 4);
        assert_eq!(begun.elapsed(), Duration::from_secs(1 + 2 + 4));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_time_is_told_the_latest_failure() {
        let attempt = || ready(Err(Failure::carrying_out("never")));
        let failure = insist(attempt, sleep(Duration::from_secs(20))).await;
        assert_eq!(failure.unwrap_err().words(), "never");
    }
}
