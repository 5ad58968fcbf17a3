//! What the process and the calling thread used of the processors, and how long they could not.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;

use super::quota::Quota;

/// Where the system tells how long the calling thread ran and how long it waited to, in
/// nanoseconds (`Documentation/scheduler/sched-stats.rst` of Linux).
const THREAD_STATISTICS: &str = "/proc/thread-self/schedstat";

/// Times since the start of process or thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) process: Duration,
    pub(super) thread: Duration,
    pub(super) starved: Option<Duration>,
    pub(super) throttled: Duration,
}

impl Usage {
    pub(super) fn now(quota: &Quota) -> io::Result<Self> {
        let statistics = fs::read_to_string(THREAD_STATISTICS);
        Ok(Self {
            process: time(UsageWho::RUSAGE_SELF)?,
            thread: thread_time()?,
            starved: statistics.ok().and_then(|text| waited(&text)),
            throttled: quota.throttled(),
        })
    }

    /// What was used since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let starved = self.starved.zip(before.starved);
        Self {
            process: self.process.saturating_sub(before.process),
            thread: self.thread.saturating_sub(before.thread),
            starved: starved.map(|(now, before)| now.saturating_sub(before)),
            throttled: self.throttled.saturating_sub(before.throttled),
        }
    }
}

/// Processor time of the calling thread.
pub(super) fn thread_time() -> io::Result<Duration> {
    time(UsageWho::RUSAGE_THREAD)
}

fn time(who: UsageWho) -> io::Result<Duration> {
    let usage = getrusage(who)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// Numbers of the processors this process may run on, a quota aside; none when the system does not
/// say.
pub(crate) fn allowed() -> BTreeSet<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::count())
        .filter(|number| set.is_set(*number).unwrap_or(false))
        .collect()
}

/// The second of the three numbers: nanoseconds for which the thread was ready and did not run.
fn waited(statistics: &str) -> Option<Duration> {
    let waited = statistics.split_whitespace().nth(1)?;
    waited.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_processor_is_the_second_number() {
        assert_eq!(
            waited("1500 989521 7\n"),
            Some(Duration::from_nanos(989_521))
        );
        assert_eq!(waited(""), None);
    }
}
