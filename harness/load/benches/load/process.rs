//! Running a program to its end, and what it took.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// The processor that generators run on, and the one of the server: as `taskset` counts.
pub(crate) const GENERATOR: &str = "0";
pub(crate) const SERVER: &str = "1";

/// What a program took.
#[derive(Clone, Debug)]
pub(crate) struct Took {
    pub(crate) processor: Duration,
    pub(crate) peak_memory_mb: f64,
    pub(crate) output: String,
}

pub(crate) fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

/// A command that runs on one processor only.
pub(crate) fn pinned(processor: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", processor, program]);
    command
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Took {
    let before = children();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0;
    while child.try_wait().unwrap().is_none() {
        peak_kb = peak_kb.max(peak(&fs::read_to_string(&status).unwrap_or_default()));
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    Took {
        processor: children() - before,
        peak_memory_mb: peak_kb as f64 / 1024.0,
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

fn peak(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn children() -> Duration {
    processor_time(&getrusage(UsageWho::RUSAGE_CHILDREN).unwrap())
}

/// Processor time of this process so far, all threads.
pub(crate) fn own_processor_time() -> Duration {
    processor_time(&getrusage(UsageWho::RUSAGE_SELF).unwrap())
}

fn processor_time(usage: &Usage) -> Duration {
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap())
}

/// The middle of several values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
