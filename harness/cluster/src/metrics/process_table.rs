//! What `/proc` tells about the use of processor and memory: of a container's process tree, and of
//! the whole machine.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// Every process of the machine at one moment, zombies too: what they used still counts.
#[derive(Debug)]
pub(super) struct ProcessTable {
    processes: HashMap<u32, Process>,
    children: HashMap<u32, Vec<u32>>,
    units: Units,
}

/// What a tree of processes has used since it began, and holds at present.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub(super) struct TreeUsage {
    /// Of the processes that are there and of those that were waited for.
    pub(super) cpu: Duration,
    /// Resident memory; what processes share counts for each of them.
    pub(super) memory_bytes: u64,
}

/// A line of `/proc/<pid>/stat`, as far as it matters here.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
struct Process {
    parent: u32,
    /// Clock ticks of its own.
    own: u64,
    /// Clock ticks of the children it has waited for, with theirs.
    waited_for: u64,
    resident_pages: u64,
}

/// What the kernel counts in.
#[derive(Copy, Clone, Debug)]
struct Units {
    ticks_per_second: u64,
    page_bytes: u64,
}

impl Units {
    fn of_this_machine() -> Self {
        let configured = |variable, usual| match sysconf(variable) {
            Ok(Some(value)) => u64::try_from(value).unwrap_or(usual),
            Ok(None) | Err(_) => usual,
        };
        Self {
            ticks_per_second: configured(SysconfVar::CLK_TCK, 100),
            page_bytes: configured(SysconfVar::PAGE_SIZE, 4096),
        }
    }

    fn time(self, ticks: u64) -> Duration {
        Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / self.ticks_per_second))
    }
}

impl ProcessTable {
    /// Reads the whole of `/proc` once: each container's tree is then found without asking again.
    pub(super) fn read() -> Self {
        let processes = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                Some((pid, Process::parse(&stat)?))
            });
        Self::of(processes.collect(), Units::of_this_machine())
    }

    fn of(processes: HashMap<u32, Process>, units: Units) -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (pid, process) in &processes {
            children.entry(process.parent).or_default().push(*pid);
        }
        Self {
            processes,
            children,
            units,
        }
    }

    /// What the descendants of a pod shim use. Of the shim itself only those count whom it waited
    /// for in the place of their parents. `None` when it is gone.
    pub(super) fn below(&self, shim: u32) -> Option<TreeUsage> {
        let (mut ticks, mut pages) = (self.processes.get(&shim)?.waited_for, 0);
        let mut left = self.children_of(shim).to_vec();
        while let Some(pid) = left.pop() {
            if let Some(process) = self.processes.get(&pid) {
                ticks += process.own + process.waited_for;
                pages += process.resident_pages;
            }
            left.extend(self.children_of(pid));
        }
        Some(TreeUsage {
            cpu: self.units.time(ticks),
            memory_bytes: pages * self.units.page_bytes,
        })
    }

    fn children_of(&self, pid: u32) -> &[u32] {
        self.children
            .get(&pid)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        // The command name in parentheses may itself contain spaces and parentheses.
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        // The manual counts from 1, and the first one here is its third.
        let number = |position: usize| fields.get(position - 3)?.parse::<u64>().ok();
        // Of children this is a signed number, but never below zero.
        Some(Self {
            parent: u32::try_from(number(4)?).ok()?,
            own: number(14)? + number(15)?,
            waited_for: number(16)? + number(17)?,
            resident_pages: number(24)?,
        })
    }
}

/// What the whole machine has used since its start, and holds at present.
pub(super) fn machine_usage() -> Option<TreeUsage> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    Some(TreeUsage {
        cpu: Units::of_this_machine().time(busy_ticks(&stat)?),
        memory_bytes: used_memory(&memory)?,
    })
}

/// All but idling and waiting for disks, of all processors together.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq
    let [user, nice, system, _, _, irq, softirq, ..] = ticks.as_slice() else {
        return None;
    };
    Some(user + nice + system + irq + softirq)
}

/// What could not be had for a new program.
fn used_memory(meminfo: &str) -> Option<u64> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(bytes("MemTotal:")?.saturating_sub(bytes("MemAvailable:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units {
        ticks_per_second: 100,
        page_bytes: 4096,
    };

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194304 1 2 3 4 50 60 70 80 20 0 1 0 99 12345 6 18446744073709551615 1 1";
        let expected = Process {
            parent: 3,
            own: 110,
            waited_for: 150,
            resident_pages: 6,
        };
        assert_eq!(Process::parse(stat), Some(expected));
    }

    #[test]
    fn a_tree_is_counted_without_its_shim() {
        let process = |parent, own, waited_for| Process {
            parent,
            own,
            waited_for,
            resident_pages: 2,
        };
        let table = HashMap::from([
            (10, process(1, 1000, 5)),
            (11, process(10, 20, 3)),
            (12, process(11, 7, 0)),
            (13, process(1, 500, 500)),
        ]);
        let usage = ProcessTable::of(table, UNITS).below(10).unwrap();
        assert_eq!(usage.cpu, Duration::from_millis(350));
        assert_eq!(usage.memory_bytes, 4 * 4096);
    }

    #[test]
    fn the_work_of_children_that_ended_is_kept() {
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let before = ProcessTable::read().processes[&std::process::id()].waited_for;
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", busy])
            .status();
        assert!(status.unwrap().success());
        let after = ProcessTable::read().processes[&std::process::id()].waited_for;
        assert!(after > before, "{before} → {after}");
    }

    #[test]
    fn the_machine_is_read() {
        let usage = machine_usage().unwrap();
        assert!(usage.cpu > Duration::ZERO && usage.memory_bytes > 0);
        let stat = "cpu  10 1 20 1000 500 3 4 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), Some(38));
        assert_eq!(
            used_memory("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 40 kB\n"),
            Some(60 * 1024)
        );
    }
}
