use super::*;

#[test]
fn a_socket_is_named_by_its_inode() {
    assert_eq!(socket_inode("socket:[4711]"), Some(4711));
    assert_eq!(socket_inode("pipe:[4711]"), None);
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
