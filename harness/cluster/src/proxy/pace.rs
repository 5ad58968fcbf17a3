//! How often kube-proxy syncs: once in a second, after a pause twice in a row. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The distance between syncs in the long run.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// How many may follow each other at once after a pause.
const BURST: u32 = 2;

/// Remembers when syncs took place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When all allowance is there again.
    full_at: Option<Instant>,
}

impl Pace {
    /// The earliest moment for the next sync; a moment that has passed means "now".
    pub(super) fn earliest(&self) -> Instant {
        let now = Instant::now();
        self.full_at.map_or(now, |full_at| {
            full_at.checked_sub(PERIOD * (BURST - 1)).unwrap_or(now)
        })
    }

    /// A sync takes place.
    pub(super) fn take(&mut self, now: Instant) {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(full_at + PERIOD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_then_one_a_second() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.take(start);
        assert!(pace.earliest() <= start);
        pace.take(start);
        assert_eq!(pace.earliest(), start + PERIOD);
        pace.take(start + PERIOD);
        assert_eq!(pace.earliest(), start + 2 * PERIOD);
    }

    #[test]
    fn a_pause_restores_the_burst() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.take(start);
        pace.take(start);
        let later = start + 10 * PERIOD;
        pace.take(later);
        assert!(pace.earliest() <= later);
    }
}
