//! Processor time, memory and the middle of several runs.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

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

/// All processes below `parent`, at any depth.
pub(crate) fn descendants(parent: u32) -> Vec<u32> {
    let children = fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .collect::<String>();
    let children: Vec<u32> = children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect();
    let below: Vec<u32> = children.iter().copied().flat_map(descendants).collect();
    children.into_iter().chain(below).collect()
}

pub(crate) fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}

pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

pub(crate) fn microseconds(duration: Duration) -> String {
    format!("{:.0}", duration.as_secs_f64() * 1_000_000.0)
}
