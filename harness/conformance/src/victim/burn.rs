//! Uses up a chosen share of a processor, all of the process's own work included.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::{say, uptime};

/// How long it works or rests at a time.
const SLICE: Duration = Duration::from_millis(1);

/// Starts burning on a thread of its own, and says `rest` at the end.
pub(super) fn start(millicores: u32, until: Duration) {
    if millicores == 0 {
        return;
    }
    let share = f64::from(millicores) / 1000.0;
    std::thread::spawn(move || {
        while uptime() < until {
            if used() < uptime().mul_f64(share) {
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
