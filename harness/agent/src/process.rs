//! The machine's processes, as `/proc` tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A line of `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) is_stopped: bool,
    /// In ticks since the machine's start: tells it from another process of the same number.
    pub(crate) started: u64,
}

impl Stat {
    /// What is known of a process; `None` if it has ended.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: i32, stat: &str) -> Option<Self> {
        // The command name in parentheses may itself contain spaces and parentheses.
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let state = *fields.first()?;
        let process = Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            is_stopped: state == "T",
            started: fields.get(19)?.parse().ok()?,
        };
        (!matches!(state, "Z" | "X")).then_some(process)
    }
}

/// Every process that lives at this moment, by number.
#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<i32, Stat>);

impl Table {
    /// Looks at the machine.
    pub(crate) fn read() -> Self {
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Stat::of)
            .collect()
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> {
        self.0.keys().copied()
    }

    /// The parent, its parent, and so on.
    pub(crate) fn ancestors(&self, pid: i32) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        let mut current = pid;
        while let Some(process) = self.0.get(&current) {
            // A table that is read while processes come and go may contain a circle.
            if !found.insert(process.parent) {
                break;
            }
            current = process.parent;
        }
        found
    }

    /// Everything that descends from one of `roots`, without them.
    pub(crate) fn descendants(&self, roots: &BTreeSet<i32>) -> BTreeSet<i32> {
        self.pids()
            .filter(|pid| !roots.contains(pid) && !self.ancestors(*pid).is_disjoint(roots))
            .collect()
    }
}

impl FromIterator<Stat> for Table {
    fn from_iter<I: IntoIterator<Item = Stat>>(processes: I) -> Self {
        let processes = processes.into_iter();
        Self(processes.map(|process| (process.pid, process)).collect())
    }
}

/// A process that signals can be sent to: never to another one that got its number later.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) started: u64,
    handle: OwnedFd,
}

impl Process {
    /// The process of this number that started at this tick; `None` if it has ended.
    pub(crate) fn open(pid: i32, started: u64) -> io::Result<Option<Self>> {
        let Some(number) = Pid::from_raw(pid) else {
            return Ok(None);
        };
        let handle = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The handle is of whoever has the number now.
        let is_same = Stat::of(pid).is_some_and(|now| now.started == started);
        Ok(is_same.then_some(Self {
            pid,
            started,
            handle,
        }))
    }

    /// SIGSTOP; not an error if it has ended.
    pub(crate) fn stop(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT; not an error if it has ended or was running.
    pub(crate) fn go_on(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// `None` if it has ended.
    pub(crate) fn stat(&self) -> Option<Stat> {
        Stat::of(self.pid).filter(|now| now.started == self.started)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stat().is_some_and(|now| now.is_stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(parents: &[(i32, i32)]) -> Table {
        parents
            .iter()
            .map(|&(pid, parent)| Stat {
                pid,
                parent,
                is_stopped: false,
                started: 0,
            })
            .collect()
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_rest() {
        let fields: Vec<String> = (5..=60).map(|field| field.to_string()).collect();
        let line = |state: &str| format!("7 (a) b) {state} 3 {}", fields.join(" "));
        let expected = Stat {
            pid: 7,
            parent: 3,
            is_stopped: true,
            started: 22,
        };
        assert_eq!(Stat::parse(7, &line("T")), Some(expected));
        assert_eq!(Stat::parse(7, &line("Z")), None);
    }

    #[test]
    fn families_are_followed_over_generations() {
        let table = table(&[(1, 0), (5, 1), (6, 5), (7, 6), (8, 1)]);
        assert_eq!(table.ancestors(7), BTreeSet::from([0, 1, 5, 6]));
        assert_eq!(table.descendants(&[5].into()), BTreeSet::from([6, 7]));
    }

    #[test]
    fn a_circle_ends() {
        let table = table(&[(5, 6), (6, 5)]);
        assert_eq!(table.ancestors(5), BTreeSet::from([5, 6]));
    }

    #[test]
    fn a_number_that_was_given_again_is_another_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        let started = Stat::of(own).unwrap().started;
        assert!(Process::open(own, started).unwrap().is_some());
        assert!(Process::open(own, started + 1).unwrap().is_none());
    }
}
