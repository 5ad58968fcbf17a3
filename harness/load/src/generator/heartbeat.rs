//! How late the generator's own runtime wakes when it wants to.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::histogram::Histogram;

/// How often the heartbeat wants to wake.
pub(super) const BEAT: Duration = Duration::from_millis(10);
/// A second whose beats came later than this on average is saturated. A stall of the whole
/// generator of a third of a second reaches it, because every beat missed in it counts.
const SATURATION_BOUND: Duration = Duration::from_millis(50);

/// How late the generator was.
#[derive(Debug, Default)]
pub(super) struct Lag {
    pub(super) histogram: Histogram,
    /// Sum of the lag and number of the beats, by the second for which they were intended.
    seconds: BTreeMap<u32, (Duration, u32)>,
}

impl Lag {
    /// Records every beat that was due from `intended` until `now` and returns the next one; all
    /// since the start. A late wake counts for every beat it missed, so that a stall weighs as much
    /// as it lasted.
    pub(super) fn catch_up(&mut self, mut intended: Duration, now: Duration) -> Duration {
        while intended <= now {
            self.record(intended, now - intended);
            intended += BEAT;
        }
        intended
    }

    fn record(&mut self, intended: Duration, late: Duration) {
        self.histogram.record(late);
        let second = u32::try_from(intended.as_secs()).unwrap_or(u32::MAX);
        let (sum, beats) = self.seconds.entry(second).or_default();
        *sum += late;
        *beats += 1;
    }

    /// The seconds in which the generator was saturated.
    pub(super) fn saturated_seconds(&self) -> Vec<u32> {
        self.seconds
            .iter()
            .filter(|(_, (sum, beats))| *sum > SATURATION_BOUND * *beats)
            .map(|(second, _)| *second)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_saturated_by_its_mean_lag() {
        let mut lag = Lag::default();
        for beat in 0..300 {
            let late = if beat / 100 == 1 { 51 } else { 49 };
            lag.record(BEAT * beat, Duration::from_millis(late));
        }
        assert_eq!(lag.saturated_seconds(), [1]);
        assert_eq!(lag.histogram.count(), 300);
    }

    #[test]
    fn a_stall_counts_for_every_beat_it_swallowed() {
        let mut lag = Lag::default();
        let next = lag.catch_up(BEAT, Duration::from_millis(1005));
        assert_eq!(next, Duration::from_millis(1010));
        assert_eq!(lag.histogram.count(), 100);
        let max = lag.histogram.max().unwrap();
        assert!((Duration::from_millis(995)..Duration::from_millis(997)).contains(&max));
        assert_eq!(lag.saturated_seconds(), [0]);
    }
}
