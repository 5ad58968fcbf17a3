//! Burns processor time, at the priority that everybody has.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::arguments::Common;
use crate::error::Error;
use crate::quantity::{Share, percent};
use crate::session::Session;

/// How long a worker works or rests at a time.
const SLICE: Duration = Duration::from_millis(1);
/// How much a worker works later of what it should have while it got no processor. What is more than
/// that is lost: a second without a processor makes the next one no busier.
const MOST_ARREARS: Duration = Duration::from_millis(100);
/// More would be a fork bomb.
const MOST_WORKERS: i64 = 1024;

/// Keeps processors busy.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// How many threads work
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=MOST_WORKERS))]
    workers: u16,
    /// The share of the time for which each of them does
    #[arg(long, value_parser = percent, value_name = "PERCENT", default_value = "100%")]
    load: Share,
}

pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let (workers, share) = (options.workers, options.load.0);
    let begun = Instant::now();
    let evidence = Arc::new(move || {
        json!({
            "workers": workers,
            "load": share,
            "elapsedSeconds": begun.elapsed().as_secs_f64(),
            "processorSeconds": used_by_process().as_secs_f64(),
        })
    });
    let session = Session::begin("cpu", options.common, evidence).await?;
    let threads: Vec<JoinHandle<()>> = (0..workers)
        .map(|_| {
            let over = session.over.clone();
            std::thread::spawn(move || burn(share, &over))
        })
        .collect();
    session.began();
    session.over.cancelled().await;
    for thread in threads {
        // A worker has nothing that could panic.
        drop(thread.join());
    }
    session.ended();
    Ok(())
}

fn burn(share: f64, over: &CancellationToken) {
    let begun = Instant::now();
    let mut budget = Budget::of(share);
    while !over.is_cancelled() {
        if budget.permits(begun.elapsed(), used_by_thread()) {
            let end = Instant::now() + SLICE;
            while Instant::now() < end {
                std::hint::spin_loop();
            }
        } else {
            std::thread::sleep(SLICE);
        }
    }
}

/// The processor time that a worker may have used by now.
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

    /// Whether more may be used. `now` and `used` count from the worker's start.
    fn permits(&mut self, now: Duration, used: Duration) -> bool {
        let passed = now.saturating_sub(self.at);
        self.at = now;
        let most = used.saturating_add(MOST_ARREARS);
        self.allowed = (self.allowed + passed.mul_f64(self.share)).min(most);
        used < self.allowed
    }
}

fn used_by_thread() -> Duration {
    match clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) {
        Ok(time) => time.into(),
        // It cannot be asked for: rather too little harm than too much.
        Err(_) => Duration::MAX,
    }
}

fn used_by_process() -> Duration {
    let of = |time: TimeVal| {
        Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or_default())
    };
    getrusage(UsageWho::RUSAGE_SELF)
        .map(|usage| of(usage.user_time()) + of(usage.system_time()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a worker uses in ten seconds that gets a processor only when `is_given` says so of the
    /// milliseconds since its start.
    fn used(share: f64, is_given: impl Fn(u128) -> bool) -> Duration {
        let mut budget = Budget::of(share);
        let (mut now, mut used) = (Duration::ZERO, Duration::ZERO);
        while now < Duration::from_secs(10) {
            now += SLICE;
            if is_given(now.as_millis()) && budget.permits(now, used) {
                used += SLICE;
            }
        }
        used
    }

    #[test]
    fn a_worker_uses_its_share() {
        for share in [0.0, 0.1, 0.5, 0.8, 1.0] {
            let expected = Duration::from_secs(10).mul_f64(share);
            let used = used(share, |_| true);
            assert!(used.abs_diff(expected) <= 2 * SLICE, "{share}: {used:?}");
        }
    }

    #[test]
    fn what_it_missed_it_makes_up_for_only_a_little() {
        let used = used(0.1, |at| at > 9_000);
        let expected = Duration::from_millis(100) + MOST_ARREARS;
        assert!(used.abs_diff(expected) <= 2 * SLICE, "{used:?}");
    }
}
