//! The TCP sockets that listen on this machine, as the kernel lists them (`sock_diag(7)`).
//!
//! `/proc/net/tcp` says the same, but to make it the kernel goes through every connection there could
//! be, which takes milliseconds. The messages have few fields of interest, so that they are written
//! and read here by hand.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

const DUMP_SOCKETS: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const FLAGS: u16 = 0x301;
const TCP: u8 = 6;
/// A bit for each state; `TCP_LISTEN` is number 10.
const LISTENING: u32 = 1 << 10;

const HEADER_LENGTH: usize = 16;
const REQUEST_LENGTH: usize = 56;
const SOCKET_LENGTH: usize = 72;

const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The kernel puts no more into one answer.
const LONGEST_ANSWER: usize = 32 * 1024;

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Listener {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// Every listening socket of the machine.
pub(super) fn listeners() -> io::Result<Vec<Listener>> {
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let mut kernel = File::from(kernel);
    let mut listeners = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        kernel.write_all(&request(family))?;
        let mut answer = [0; LONGEST_ANSWER];
        loop {
            let length = kernel.read(&mut answer)?;
            if take(&answer[..length], &mut listeners)? {
                break;
            }
        }
    }
    Ok(listeners)
}

/// Asks for the listening sockets of a family.
fn request(family: AddressFamily) -> [u8; HEADER_LENGTH + REQUEST_LENGTH] {
    let mut request = [0; HEADER_LENGTH + REQUEST_LENGTH];
    let length = request.len() as u32;
    request[..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&DUMP_SOCKETS.to_ne_bytes());
    request[6..8].copy_from_slice(&FLAGS.to_ne_bytes());
    request[HEADER_LENGTH] = family as u8;
    request[HEADER_LENGTH + 1] = TCP;
    request[HEADER_LENGTH + 4..HEADER_LENGTH + 8].copy_from_slice(&LISTENING.to_ne_bytes());
    request
}

/// Adds the sockets in one answer. Returns whether it was the last.
fn take(mut answer: &[u8], listeners: &mut Vec<Listener>) -> io::Result<bool> {
    while let Some((header, _)) = answer.split_at_checked(HEADER_LENGTH) {
        let length = usize::try_from(u32_at(header, 0)).unwrap_or(usize::MAX);
        let body = answer
            .get(HEADER_LENGTH..length)
            .ok_or(io::ErrorKind::InvalidData)?;
        match u16::from_ne_bytes([header[4], header[5]]) {
            DONE => return Ok(true),
            ERROR => return Err(error_in(body)),
            _ => listeners.extend(listener(body)),
        }
        // Each message begins at a multiple of four.
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn error_in(body: &[u8]) -> io::Error {
    match body.first_chunk() {
        Some(code) => io::Error::from_raw_os_error(-i32::from_ne_bytes(*code)),
        None => io::ErrorKind::InvalidData.into(),
    }
}

fn listener(body: &[u8]) -> Option<Listener> {
    let body: &[u8; SOCKET_LENGTH] = body.first_chunk()?;
    let address = if i32::from(body[0]) == AddressFamily::Inet as i32 {
        Ipv4Addr::from(*body[8..].first_chunk()?).into()
    } else {
        // `::ffff:0.0.0.0` is the IPv4 wildcard in disguise.
        IpAddr::V6(Ipv6Addr::from(*body[8..].first_chunk()?)).to_canonical()
    };
    Some(Listener {
        address,
        port: u16::from_be_bytes([body[4], body[5]]),
        inode: u32_at(body, 68).into(),
    })
}

fn u32_at(bytes: &[u8], position: usize) -> u32 {
    let four = bytes[position..].first_chunk();
    u32::from_ne_bytes(*four.expect("the message was checked to be long enough for each field"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn listeners_are_seen_with_their_addresses() {
        let addresses = [
            "0.0.0.0:0",
            "127.0.0.1:0",
            "127.9.8.7:0",
            "[::]:0",
            "[::1]:0",
        ];
        for address in addresses {
            let bound = TcpListener::bind(address).unwrap();
            let local = bound.local_addr().unwrap();
            let seen = listeners().unwrap();
            let found = seen
                .iter()
                .any(|listener| (listener.address, listener.port) == (local.ip(), local.port()));
            assert!(found, "{local} among {seen:?}");
        }
    }

    #[test]
    fn connections_are_not_listed() {
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(bound.local_addr().unwrap()).unwrap();
        let port = client.local_addr().unwrap().port();
        let seen = listeners().unwrap();
        assert!(
            seen.iter().all(|listener| listener.port != port),
            "{seen:?}"
        );
    }

    #[test]
    fn more_listeners_than_fit_into_one_answer_are_seen() {
        let bound: Vec<TcpListener> = (0..600)
            .map(|_| TcpListener::bind("127.9.8.6:0").unwrap())
            .collect();
        assert!(bound.len() * SOCKET_LENGTH > LONGEST_ANSWER);
        let seen = listeners().unwrap();
        let own = seen
            .iter()
            .filter(|listener| listener.address == Ipv4Addr::new(127, 9, 8, 6));
        assert_eq!(own.count(), bound.len());
    }

    #[test]
    fn a_refusal_and_a_torn_answer_are_errors() {
        let message = |kind: u16, body: &[u8]| {
            let length = u32::try_from(HEADER_LENGTH + body.len()).unwrap();
            let mut message = length.to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.resize(HEADER_LENGTH, 0);
            message.extend(body);
            message
        };
        let refused = message(ERROR, &(-13_i32).to_ne_bytes());
        let error = take(&refused, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let whole = message(DUMP_SOCKETS, &[0; SOCKET_LENGTH]);
        let mut listeners = Vec::new();
        assert!(!take(&whole, &mut listeners).unwrap());
        assert_eq!(listeners.len(), 1);
        assert!(take(&whole[..40], &mut listeners).is_err());
    }
}
