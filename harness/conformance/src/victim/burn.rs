//! Uses up a chosen share of a processor, all of the process's own work included.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::{say, uptime};

/// How long it works or rests at a time.
const SLICE: Duration = Duration::from_millis(1);
/// How much it works later of what it should have while it got no processor. What is more than
/// that is lost: a window without a processor makes the next one no busier.
const MOST_ARREARS: Duration = Duration::from_millis(30);

/// Starts burning on a thread of its own, and says `rest` at the end.
pub(super) fn start(millicores: u32, until: Duration) {
    if millicores == 0 {
        return;
    }
    let mut budget = Budget::of(f64::from(millicores) / 1000.0);
    std::thread::spawn(move || {
        while uptime() < until {
            if budget.permits(uptime(), used()) {
                let end = Instant::now() + SLICE;
                while Instant::now() < end {
                    std::hint::spin_loop();
                }
            } else {
                std::thread::sleep(SLICE);
            }
        }
        say("rest");
    });
}

/// The processor time that a process may have used by now.
#[derive(Debug)]
struct Budget {
    share: f64,
    allowed: Duration,
    /// Until when time has been counted.
    at: Duration,
}

impl Budget {
    fn of(share: f64) -> Self {
        Self {
            share,
            allowed: Duration::ZERO,
            at: Duration::ZERO,
        }
    }

    /// Whether more may be used. `now` and `used` count from the process's start.
    fn permits(&mut self, now: Duration, used: Duration) -> bool {
        let passed = now.saturating_sub(self.at);
        self.at = now;
        let most = used.saturating_add(MOST_ARREARS);
        self.allowed = (self.allowed + passed.mul_f64(self.share)).min(most);
        used < self.allowed
    }
}

/// The processor time of this process.
fn used() -> Duration {
    match getrusage(UsageWho::RUSAGE_SELF) {
        Ok(usage) => of(usage.user_time()) + of(usage.system_time()),
        // It cannot be asked for: rather too little than too much.
        Err(_) => Duration::MAX,
    }
}

fn of(time: TimeVal) -> Duration {
    let whole = u64::try_from(time.tv_sec()).unwrap_or(0);
    let rest = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(whole) + Duration::from_micros(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// What a process uses of `time` that starts with `used` and gets a processor only when
    /// `is_given` says so of the milliseconds since the start.
    fn used_after(time: Duration, mut used: Duration, is_given: impl Fn(u128) -> bool) -> Duration {
        let mut budget = Budget::of(0.1);
        let mut now = Duration::ZERO;
        while now < time {
            now += MILLISECOND;
            if is_given(now.as_millis()) && budget.permits(now, used) {
                used += MILLISECOND;
            }
        }
        used
    }

    fn is_near(used: Duration, milliseconds: u64) -> bool {
        used.abs_diff(Duration::from_millis(milliseconds)) <= MILLISECOND
    }

    #[test]
    fn it_uses_its_share_of_the_time() {
        let second = Duration::from_secs(1);
        let used = used_after(second, Duration::ZERO, |_| true);
        assert!(is_near(used, 100), "{used:?}");
        let after_a_costly_start = used_after(second, 30 * MILLISECOND, |_| true);
        assert!(
            is_near(after_a_costly_start, 100),
            "{after_a_costly_start:?}"
        );
        let with_gaps = used_after(second, Duration::ZERO, |at| at % 100 < 50);
        assert!(
            is_near(with_gaps, 95),
            "5 ms late at its end: {with_gaps:?}"
        );
    }

    #[test]
    fn what_it_missed_it_does_not_make_up_for() {
        let starved_at_first = |at| at > 10_000;
        let time = Duration::from_secs(20);
        let used = used_after(time, Duration::ZERO, starved_at_first);
        assert!(is_near(used, 1030), "{used:?}");
    }
}
