//! The clocks of two machines, and how far apart they are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A machine's wall clock as it was once read, and from there on as steady as its monotonic one:
/// setting the wall clock does not move it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    at_origin: Reading,
}

/// What a clock shows: nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Reading(i64);

/// A clock minus another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    nanos: i64,
    /// It may be wrong by so much either way.
    pub(crate) uncertainty: Duration,
}

/// One question to another clock: when it was asked, what it showed, when that was known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) asked: Reading,
    pub(crate) shown: Reading,
    pub(crate) answered: Reading,
}

impl Clock {
    /// This machine's clock.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since_epoch.map_or(0, nanos);
        Self {
            origin: Instant::now(),
            at_origin: Reading(nanos),
        }
    }

    /// A clock that is ahead of this one.
    #[must_use]
    pub fn ahead_by(self, ahead: Duration) -> Self {
        Self {
            at_origin: self.at_origin.plus(nanos(ahead)),
            ..self
        }
    }

    pub(crate) fn now(&self) -> Reading {
        self.at(Instant::now())
    }

    /// What it shows at an instant.
    pub(crate) fn at(&self, instant: Instant) -> Reading {
        self.at_origin.plus(nanos(instant - self.origin))
    }

    /// When it shows `reading`; a time before its origin is the origin.
    pub(crate) fn instant(&self, reading: Reading) -> Instant {
        self.origin + reading.since(self.at_origin)
    }
}

impl Reading {
    fn plus(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Zero when `earlier` is later.
    fn since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// What the other clock shows when this one shows this.
    pub(crate) fn by(self, offset: Offset) -> Self {
        self.plus(offset.nanos)
    }
}

impl Offset {
    /// The offset of the clock that was asked, from the round that took the least time: the answer
    /// was given at some moment of it, so in the middle the error is at most half of it. (D. L.
    /// Mills, RFC 5905, clock filter.) `None` without a round.
    pub(crate) fn measured(rounds: &[Round]) -> Option<Self> {
        let took = |round: &Round| round.answered.since(round.asked);
        let best = rounds.iter().min_by_key(|round| took(round))?;
        let half = took(best) / 2;
        let middle = best.asked.plus(nanos(half));
        Some(Self {
            nanos: best.shown.0.saturating_sub(middle.0),
            uncertainty: half,
        })
    }

    pub(crate) fn seconds(self) -> f64 {
        self.nanos as f64 / 1e9
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_offset_is_off_by_no_more_than_it_says(
            offset in -1_000_000_000_000_i64..1_000_000_000_000,
            rounds in prop::collection::vec((0_i64..50_000_000, 0_i64..50_000_000), 1..10),
        ) {
            let mut now = 1_700_000_000_000_000_000;
            let rounds: Vec<Round> = rounds.into_iter().map(|(there, back)| {
                let asked = Reading(now);
                now += there;
                let shown = Reading(now + offset);
                now += back;
                Round { asked, shown, answered: Reading(now) }
            }).collect();
            let measured = Offset::measured(&rounds).unwrap();
            let error = measured.nanos.abs_diff(offset);
            // Half of an odd number of nanoseconds is rounded.
            prop_assert!(error <= nanos(measured.uncertainty).unsigned_abs() + 1);
        }
    }

    #[test]
    fn an_instant_and_its_reading_are_the_same_moment() {
        let clock = Clock::of_this_machine().ahead_by(Duration::from_secs(3600));
        let later = Instant::now() + Duration::from_millis(1234);
        assert_eq!(clock.instant(clock.at(later)), later);
    }
}
