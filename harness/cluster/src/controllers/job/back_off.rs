//! How long a Job waits before it starts a pod in the place of one that failed.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// How a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) at: Timestamp,
    /// Of two ends in the same second the success counts as the later one.
    pub(super) succeeded: bool,
}

/// The failures since the last success.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct BackOff {
    failures: u32,
    last_failure: Option<Timestamp>,
}

impl BackOff {
    pub(super) fn after(self, ends: &[End]) -> Self {
        let mut ends = ends.to_vec();
        ends.sort_unstable();
        ends.into_iter().fold(self, |so_far, end| {
            if end.succeeded {
                return Self::default();
            }
            Self {
                failures: so_far.failures.saturating_add(1),
                last_failure: Some(end.at),
            }
        })
    }

    /// How long still to wait; nothing when there is nothing to wait for.
    pub(super) fn remaining(self, now: Timestamp) -> Option<Duration> {
        let last_failure = self.last_failure?;
        // More doublings than these are longer than the longest anyhow.
        let doublings = self.failures.saturating_sub(1).min(16);
        let pause = (FIRST * 2_i32.pow(doublings)).min(LONGEST);
        let left = pause - now.duration_since(last_failure);
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn failures(count: u32) -> Vec<End> {
        let end = End {
            at: at(0),
            succeeded: false,
        };
        vec![end; count as usize]
    }

    #[test]
    fn the_pause_doubles_up_to_ten_minutes() {
        let pause = |count| {
            let back_off = BackOff::default().after(&failures(count));
            back_off.remaining(at(0)).map_or(0, |left| left.as_secs())
        };
        let pauses: Vec<u64> = (0..8).map(pause).collect();
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 600]);
        assert_eq!(pause(1000), 600);
    }

    #[test]
    fn it_is_counted_from_the_last_failure() {
        let back_off = BackOff::default().after(&failures(2));
        assert_eq!(back_off.remaining(at(15)), Some(Duration::from_secs(5)));
        assert_eq!(back_off.remaining(at(20)), None);
    }

    #[test]
    fn a_success_forgets_the_failures_before_it() {
        let success = |second| End {
            at: at(second),
            succeeded: true,
        };
        let failure = |second| End {
            at: at(second),
            succeeded: false,
        };
        let back_off = BackOff::default().after(&failures(5));
        assert_eq!(back_off.after(&[success(9)]), BackOff::default());
        let later = back_off.after(&[failure(10), success(9), failure(8)]);
        assert_eq!(later.remaining(at(10)), Some(Duration::from_secs(10)));
        assert_eq!(
            back_off.after(&[failure(9), success(9)]),
            BackOff::default()
        );
    }
}
