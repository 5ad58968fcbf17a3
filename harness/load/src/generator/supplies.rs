//! What the system gives a process only so many of, and how much of it is in use: descriptors, and
//! local ports.

use std::fs;

use holdfast_core::event::Used;
use nix::sys::resource::{Resource, getrlimit};

/// The sockets of this machine, counted (`proc(5)` of Linux).
const SOCKETS: &str = "/proc/net/sockstat";
/// The local ports that the system chooses from, first and last.
const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// File descriptors that this process has open, of those that it may have.
pub(super) fn descriptors() -> Option<Used> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(Used {
        most: open_descriptors(),
        of: soft,
    })
}

/// File descriptors that this process has open.
pub(crate) fn open_descriptors() -> u64 {
    // Linux 6.2 and later tell the number as the folder's size, others tell 0 for it.
    let told = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    if told > 0 {
        return told;
    }
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64
}

/// TCP sockets of this machine (in this network namespace), connected or not forgotten yet, and
/// the local ports there are for one destination.
pub(super) fn ports() -> Option<Used> {
    let sockets = fs::read_to_string(SOCKETS).ok()?;
    let range = fs::read_to_string(PORTS).ok()?;
    Some(Used {
        most: tcp_sockets(&sockets)?,
        of: ports_in(&range)?,
    })
}

/// Of a line such as `TCP: inuse 5 orphan 0 tw 3 alloc 6 mem 1`, those in use and in time-wait.
fn tcp_sockets(statistics: &str) -> Option<u64> {
    let line = statistics
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let count = |name| {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1)?.parse::<u64>().ok()
    };
    Some(count("inuse")? + count("tw")?)
}

fn ports_in(range: &str) -> Option<u64> {
    let mut ends = range.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (last + 1).checked_sub(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_in_time_wait_hold_their_ports_too() {
        let statistics =
            "sockets: used 290\nTCP: inuse 5 orphan 0 tw 3 alloc 6 mem 1\nUDP: inuse 1\n";
        assert_eq!(tcp_sockets(statistics), Some(8));
        assert_eq!(tcp_sockets("UDP: inuse 1\n"), None);
    }

    #[test]
    fn the_range_of_ports_includes_both_ends() {
        assert_eq!(ports_in("32768\t60999\n"), Some(28_232));
        assert_eq!(ports_in("60999 32768"), None);
        assert_eq!(ports_in(""), None);
    }

    #[test]
    fn an_open_file_is_counted() {
        let before = descriptors().unwrap();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null")).collect();
        let with = descriptors().unwrap();
        assert!(files.iter().all(Result::is_ok));
        // Other tests of this process open and close files, too.
        assert!(with.most > before.most + 20, "{before:?} {with:?}");
        assert!(with.most <= with.of);
    }
}
