//! What `/proc` tells about processes: who descends from whom, and who would handle SIGTERM.

use std::collections::HashMap;
use std::fs;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// The number of `rt_sigtimedwait` in `/proc/<pid>/syscall`, by which a program waits for a signal
/// without a handler.
const RT_SIGTIMEDWAIT: &str = if cfg!(target_arch = "x86_64") {
    "128"
} else {
    "137"
};

/// Every process that descends from `ancestor`, parents before children. Zombies are left out.
pub(crate) fn descendants(ancestor: i32) -> Vec<i32> {
    let found = descendants_of_each(&[ancestor]).into_iter();
    found.map(|(_, process)| process).collect()
}

/// (ancestor, process) for every process that descends from one of `ancestors`.
pub(crate) fn descendants_of_each(ancestors: &[i32]) -> Vec<(i32, i32)> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in living_processes() {
        children
            .entry(process.parent)
            .or_default()
            .push(process.pid);
    }
    let mut found = Vec::new();
    for &ancestor in ancestors {
        let mut next = found.len();
        let own = children.remove(&ancestor).unwrap_or_default();
        found.extend(own.into_iter().map(|process| (ancestor, process)));
        while let Some(&(_, process)) = found.get(next) {
            let own = children.remove(&process).unwrap_or_default();
            found.extend(own.into_iter().map(|process| (ancestor, process)));
            next += 1;
        }
    }
    found
}

/// Every process of a process group, and every one that carries `variable` (`NAME=value`) in its
/// environment.
pub(crate) fn members(group: u32, variable: &str) -> Vec<i32> {
    let carries_variable = |pid: i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|&byte| byte == 0)
            .any(|carried| carried == variable.as_bytes())
    };
    living_processes()
        .filter(|process| {
            u32::try_from(process.group) == Ok(group) || carries_variable(process.pid)
        })
        .map(|process| process.pid)
        .collect()
}

/// A line of `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
}

fn living_processes() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            living_process(pid, &stat)
        })
}

/// A line of `/proc/<pid>/stat`; `None` for a zombie.
fn living_process(pid: i32, stat: &str) -> Option<Process> {
    // The command name in parentheses may itself contain spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    let process = Process {
        pid,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    };
    (!matches!(state, "Z" | "X")).then_some(process)
}

/// Whether SIGTERM would have an effect on this program if it were PID 1: it handles the signal,
/// blocks it to fetch it later, or a thread is waiting for it.
pub(super) fn would_handle_sigterm(program: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{program}/status")).unwrap_or_default();
    mask_has_sigterm(&status, "SigCgt:")
        || mask_has_sigterm(&status, "SigBlk:")
        || waits_for_signal(program)
}

fn mask_has_sigterm(status: &str, field: &str) -> bool {
    let bit = Signal::SIGTERM as u32 - 1;
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << bit) != 0)
}

fn waits_for_signal(program: Pid) -> bool {
    fs::read_dir(format!("/proc/{program}/task"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|thread| fs::read_to_string(thread.path().join("syscall")).ok())
        .any(|call| call.split_whitespace().next() == Some(RT_SIGTIMEDWAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        let expected = Process {
            pid: 7,
            parent: 3,
            group: 6,
        };
        assert_eq!(
            living_process(7, "7 (a) b) S 3 6 7 0 -1"),
            Some(expected),
            "the last parenthesis ends the name"
        );
        assert_eq!(living_process(7, "7 (sh) Z 3 6 7 0 -1"), None);
    }

    #[test]
    fn sigterm_is_bit_fourteen() {
        let status = "SigBlk:\t0000000000000000\nSigCgt:\t0000000000004000\n";
        assert!(mask_has_sigterm(status, "SigCgt:"));
        assert!(!mask_has_sigterm(status, "SigBlk:"));
        assert!(!mask_has_sigterm("SigCgt:\tffffffffffffbfff\n", "SigCgt:"));
    }
}
