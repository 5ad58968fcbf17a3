//! The ticks of clocks that started at a certain moment.

use std::time::Duration;

use tokio::time::Instant;

/// The first tick after `now` of a clock that started at `origin`.
pub(super) fn next_tick(origin: Instant, period: Duration, now: Instant) -> Instant {
    let elapsed = now.saturating_duration_since(origin);
    let into_period = elapsed.as_nanos() % period.as_nanos();
    let remaining = period.as_nanos() - into_period;
    now + Duration::from_nanos(u64::try_from(remaining).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_count_from_the_origin_whatever_happens_when() {
        let origin = Instant::now();
        let at = |milliseconds| origin + Duration::from_millis(milliseconds);
        let second = Duration::from_secs(1);
        for (now, tick) in [
            (0, 1000),
            (10, 1000),
            (999, 1000),
            (1000, 2000),
            (7300, 8000),
        ] {
            assert_eq!(next_tick(origin, second, at(now)), at(tick), "{now} ms");
        }
    }
}
