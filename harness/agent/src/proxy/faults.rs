//! Which requests fail and how long they wait: a pure function of the seed and their number.

use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::quantity::Share;

/// What is done to what passes, until it is over.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    pub(super) errors: Share,
    pub(super) status: StatusCode,
    pub(super) aborts: Share,
    pub(super) seed: u64,
    pub(super) over: CancellationToken,
}

/// What becomes of a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    /// It is answered here.
    Error,
    /// Its connection is reset.
    Abort,
}

impl Faults {
    pub(super) fn are_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// What becomes of the request, or the connection, of this number.
    pub(super) fn fate(&self, number: u64) -> Fate {
        if self.are_over() {
            return Fate::Pass;
        }
        let draw = draw(self.seed, number);
        if draw < self.errors.0 {
            Fate::Error
        } else if draw < self.errors.0 + self.aborts.0 {
            Fate::Abort
        } else {
            Fate::Pass
        }
    }

    /// How long what has this number waits.
    pub(super) fn delay(&self, number: u64) -> Duration {
        if self.are_over() {
            return Duration::ZERO;
        }
        // Another draw than that of the fate, or only long delays would fail.
        let draw = draw(!self.seed, number);
        let most = self.delay + self.jitter;
        most.saturating_sub((2 * self.jitter).mul_f64(draw))
    }

    /// Returns at that moment, or when the faults are over.
    pub(super) async fn wait_until(&self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        tokio::select! {
            () = sleep_until(due) => {}
            () = self.over.cancelled() => {}
        }
    }
}

/// A number from 0 to below 1 that looks random (SplitMix64).
fn draw(seed: u64, number: u64) -> f64 {
    let mut bits = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // The 53 bits that a float of this size holds exactly.
    #[expect(clippy::as_conversions, reason = "53 bits fit")]
    let whole = (bits >> 11) as f64;
    whole / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(seed: u64, errors: f64, aborts: f64) -> Faults {
        Faults {
            delay: Duration::from_millis(100),
            jitter: Duration::from_millis(30),
            errors: Share(errors),
            status: StatusCode::SERVICE_UNAVAILABLE,
            aborts: Share(aborts),
            seed,
            over: CancellationToken::new(),
        }
    }

    proptest! {
        #[test]
        fn shares_are_kept_whatever_the_seed(seed: u64, errors in 0.0..0.5_f64, aborts in 0.0..0.5_f64) {
            const NUMBERS: u32 = 20_000;
            let faults = faults(seed, errors, aborts);
            let share = |fate| {
                let hits = (0..NUMBERS).filter(|number| faults.fate((*number).into()) == fate);
                f64::from(u32::try_from(hits.count()).unwrap()) / f64::from(NUMBERS)
            };
            // Six standard deviations of the worst share.
            let tolerance = 6.0 * (0.25 / f64::from(NUMBERS)).sqrt();
            prop_assert!((share(Fate::Error) - errors).abs() < tolerance);
            prop_assert!((share(Fate::Abort) - aborts).abs() < tolerance);
        }

        #[test]
        fn delays_stay_within_the_jitter(seed: u64, number: u64) {
            let delay = faults(seed, 0.0, 0.0).delay(number);
            prop_assert!((Duration::from_millis(70)..=Duration::from_millis(130)).contains(&delay));
        }
    }

    #[test]
    fn none_and_all_mean_none_and_all() {
        let (none, all) = (faults(1, 0.0, 0.0), faults(1, 1.0, 0.0));
        for number in 0..10_000 {
            assert_eq!(none.fate(number), Fate::Pass);
            assert_eq!(all.fate(number), Fate::Error);
        }
    }

    #[test]
    fn what_is_over_does_nothing() {
        let faults = faults(1, 1.0, 0.0);
        faults.over.cancel();
        assert_eq!(faults.fate(7), Fate::Pass);
        assert_eq!(faults.delay(7), Duration::ZERO);
    }
}
