//! How late requests were sent that had an intended time.

use std::time::Duration;

use holdfast_core::histogram::Histogram;

/// A send is late when it came more than this after its intended time: many times what a machine
/// with a processor to spare needs.
const LATE: Duration = Duration::from_millis(10);
/// A second is saturated in which more than this share of the sends were late.
const LATE_SHARE: f64 = 0.1;

/// The lag of each send, and the seconds in which too many were late.
#[derive(Debug, Default)]
pub(crate) struct Punctuality {
    lag: Histogram,
    saturated: Vec<u32>,
    second: u32,
    sends: u64,
    late: u64,
}

impl Punctuality {
    /// Counts a send in `second`, which is never before that of an earlier send.
    pub(crate) fn record(&mut self, second: u32, lag: Duration) {
        if second != self.second {
            self.close_second();
            self.second = second;
        }
        self.lag.record(lag);
        self.sends += 1;
        self.late += u64::from(lag > LATE);
    }

    /// All lags, and the saturated seconds.
    pub(crate) fn finish(&mut self) -> (Histogram, Vec<u32>) {
        self.close_second();
        let finished = std::mem::take(self);
        (finished.lag, finished.saturated)
    }

    fn close_second(&mut self) {
        if self.late as f64 > LATE_SHARE * self.sends as f64 {
            self.saturated.push(self.second);
        }
        (self.sends, self.late) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_saturated_by_its_share_of_late_sends() {
        let mut punctuality = Punctuality::default();
        for (second, late) in [(0, 10), (3, 11), (4, 0), (7, 100)] {
            for send in 0..100 {
                let lag = if send < late { 11 } else { 9 };
                punctuality.record(second, Duration::from_millis(lag));
            }
        }
        let (lag, saturated) = punctuality.finish();
        assert_eq!(saturated, [3, 7]);
        assert_eq!(lag.count(), 400);
    }
}
