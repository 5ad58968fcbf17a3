use std::net::TcpListener;

use super::*;

#[test]
fn listeners_are_seen_with_their_addresses() {
    for address in [
        "0.0.0.0:0",
        "127.0.0.1:0",
        "127.9.8.7:0",
        "[::]:0",
        "[::1]:0",
    ] {
        let bound = TcpListener::bind(address).unwrap();
        let local = bound.local_addr().unwrap();
        let seen = listeners();
        let found = seen
            .iter()
            .any(|listener| (listener.address, listener.port) == (local.ip(), local.port()));
        assert!(found, "{local} among {seen:?}");
    }
}

#[test]
fn connections_end_the_list_of_listeners() {
    let header = "   1: 0100007F:1F90 00000000:0000";
    let tail = "00000000:00000000 00:00000000 00000000     0        0 4711 1";
    assert_eq!(listener(&format!("{header} 01 {tail}")), None);
    let expected = Listener {
        address: Ipv4Addr::LOCALHOST.into(),
        port: 8080,
        inode: 4711,
    };
    assert_eq!(listener(&format!("{header} 0A {tail}")), Some(expected));
    assert_eq!(socket_inode("socket:[4711]"), Some(4711));
    assert_eq!(socket_inode("pipe:[4711]"), None);
    let disguised = ip_address("0000000000000000FFFF000000000000").unwrap();
    assert!(disguised.is_unspecified());
}

#[test]
fn what_gets_in_the_way_of_other_pods_is_an_offence() {
    let pod = |last| Ipv4Addr::new(127, 80, 128, last);
    let container = |last| Container {
        name: "c".to_owned(),
        pod: pod(last),
        offence: None,
    };
    let listener = |address: Ipv4Addr| Listener {
        address: address.into(),
        port: 8080,
        inode: 1,
    };
    let shared = listener(Ipv4Addr::LOCALHOST);
    let registry = Registry {
        containers: HashMap::from([(1, container(1)), (2, container(2))]),
        known: HashMap::from([(7, (shared, Some(1)))]),
    };
    let reason = |address, of: u8| {
        let offence = registry.offence(listener(address), &container(of));
        offence.map(|offence| offence.reason)
    };
    assert_eq!(reason(pod(1), 1), None);
    assert_eq!(reason(Ipv4Addr::UNSPECIFIED, 1), Some("WildcardListener"));
    assert_eq!(reason(pod(2), 1), Some("ForeignListener"));
    assert_eq!(reason(Ipv4Addr::LOCALHOST, 2), Some("SharedListener"));
    assert_eq!(reason(Ipv4Addr::LOCALHOST, 1), None, "its own port twice");
}
