//! Processor time, memory and the middle of several runs.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use tokio::time::sleep;

/// Processor time of this process so far, all threads.
pub(crate) fn own_processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    duration(usage.user_time()) + duration(usage.system_time())
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap();
    let microseconds = u64::try_from(time.tv_usec()).unwrap();
    Duration::from_secs(seconds) + Duration::from_micros(microseconds)
}

/// Long enough for what has been set off by the last change to end.
const SETTLE: Duration = Duration::from_secs(3);

/// The processor time of this process while nothing is asked of it.
pub(crate) struct Idle {
    pub(crate) used: Duration,
    elapsed: Duration,
}

impl Idle {
    /// Looks on for a while, once everything has come to rest.
    pub(crate) async fn look(length: Duration) -> Self {
        sleep(SETTLE).await;
        let (start, before) = (Instant::now(), own_processor_time());
        sleep(length).await;
        Self {
            used: own_processor_time() - before,
            elapsed: start.elapsed(),
        }
    }

    /// Of one core.
    pub(crate) fn percent(&self) -> String {
        let share = self.used.as_secs_f64() / self.elapsed.as_secs_f64();
        format!("{:.2}", 100.0 * share)
    }
}

/// Memory a process holds alone, and memory it holds in all, in KiB.
pub(crate) fn memory(process: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| -> u64 {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines
            .filter_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    };
    (
        field("Private_Clean:") + field("Private_Dirty:"),
        field("Rss:"),
    )
}

pub(crate) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The processes which this one has started: of a cluster, the pod shims.
pub(crate) fn children() -> Vec<u32> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let children = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .collect::<String>();
    children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

pub(crate) fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    quantile(&values, 0.5)
}

/// The value below which this share of the sorted values lies.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

pub(crate) fn microseconds(duration: Duration) -> String {
    format!("{:.0}", duration.as_secs_f64() * 1_000_000.0)
}

pub(crate) fn megabytes(kibibytes: u64) -> String {
    format!("{:.1}", kibibytes as f64 / 1024.0)
}
