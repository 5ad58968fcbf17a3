//! Finds pods that listen on every address instead of their own.
//!
//! Pods share the machine's network, so a listener on `0.0.0.0` would take the same port away from
//! all other pods, or silently share their traffic.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};

use crate::pod_shim;

/// The state `TCP_LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// A listening socket on all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Wildcard {
    port: u16,
    inode: u64,
}

/// Looks again and again at one container's processes.
#[derive(Debug)]
pub(crate) struct WildcardSearch {
    /// The process from which all of the container's descend.
    shim: u32,
    /// Listeners known to belong to somebody else. A socket does not change hands.
    foreign: HashSet<Wildcard>,
}

impl WildcardSearch {
    pub(crate) fn new(shim: u32) -> Self {
        Self {
            shim,
            foreign: HashSet::new(),
        }
    }

    /// The port on which the container listens on all addresses, if it does. Reads `/proc`.
    pub(crate) fn offending_port(&mut self) -> Option<u16> {
        let unknown: Vec<Wildcard> = wildcard_listeners()
            .into_iter()
            .filter(|listener| !self.foreign.contains(listener))
            .collect();
        if unknown.is_empty() {
            return None;
        }
        let own = sockets_of_descendants(self.shim);
        let offending = unknown
            .iter()
            .find(|listener| own.contains(&listener.inode));
        let port = offending.map(|listener| listener.port);
        self.foreign.extend(
            unknown
                .into_iter()
                .filter(|listener| !own.contains(&listener.inode)),
        );
        port
    }
}

fn wildcard_listeners() -> Vec<Wildcard> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| File::open(path).ok())
        .flat_map(|file| {
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            // The kernel lists the listeners first, and there may be very many connections.
            let listening = lines.skip(1).map_while(|line| listener(&line));
            listening.flatten().collect::<Vec<_>>()
        })
        .collect()
}

/// A line of `/proc/net/tcp`: nothing if it is no listener, and `Some(None)` for a listener on one
/// address.
#[expect(
    clippy::option_option,
    reason = "the end of the listeners and an uninteresting one differ"
)]
fn listener(line: &str) -> Option<Option<Wildcard>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let inode = fields.get(9)?.parse().ok()?;
    let is_wildcard = address.bytes().all(|digit| digit == b'0');
    Some(is_wildcard.then_some(Wildcard { port, inode }))
}

/// The inodes of all sockets open in processes that descend from `shim`.
fn sockets_of_descendants(shim: u32) -> HashSet<u64> {
    let shim = i32::try_from(shim).unwrap_or_default();
    pod_shim::descendants(shim)
        .into_iter()
        .filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok())
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .filter_map(|target| socket_inode(target.to_str()?))
        .collect()
}

/// Reads `socket:[4711]`.
fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_seen_with_its_socket() {
        let any = TcpListener::bind("0.0.0.0:0").unwrap();
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let any6 = TcpListener::bind("[::]:0").unwrap();
        let ports: HashSet<u16> = wildcard_listeners()
            .iter()
            .map(|listener| listener.port)
            .collect();
        assert!(ports.contains(&any.local_addr().unwrap().port()));
        assert!(ports.contains(&any6.local_addr().unwrap().port()));
        assert!(!ports.contains(&one.local_addr().unwrap().port()));
    }

    #[test]
    fn connections_end_the_list_of_listeners() {
        let header = "   1: 0100007F:1F90 00000000:0000";
        let tail = "00000000:00000000 00:00000000 00000000     0        0 4711 1";
        assert_eq!(listener(&format!("{header} 01 {tail}")), None);
        assert_eq!(listener(&format!("{header} 0A {tail}")), Some(None));
        let wildcard = listener(&format!("   1: 00000000:1F90 00000000:0000 0A {tail}"));
        assert_eq!(
            wildcard,
            Some(Some(Wildcard {
                port: 8080,
                inode: 4711
            }))
        );
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        assert_eq!(socket_inode("pipe:[4711]"), None);
    }
}
