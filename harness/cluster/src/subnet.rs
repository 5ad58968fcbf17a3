//! The loopback addresses of one cluster: a /16 of its own.

use std::net::Ipv4Addr;

use rand::Rng as _;

/// Port of the API server on the subnet's first address.
pub(crate) const API_PORT: u16 = 6443;

/// Third octets: services in `127.A.64.0/18`, pods in `127.A.128.0/17`.
const SERVICES_START: u8 = 64;
const PODS_START: u8 = 128;

/// `127.A.0.0/16`. Several clusters on a machine differ in A, from 1 to 254;
/// whoever binds the API server's address owns the subnet.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Subnet(u8);

impl Subnet {
    #[cfg(test)]
    pub(crate) fn new(second_octet: u8) -> Option<Self> {
        (1..=254)
            .contains(&second_octet)
            .then_some(Self(second_octet))
    }

    /// All subnets, starting at a random one.
    pub(crate) fn all_from_random() -> impl Iterator<Item = Self> {
        let first = rand::rng().random_range(1..=254_u8);
        (first..=254).chain(1..first).map(Self)
    }

    pub(crate) fn api_server(self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, 0, 1)
    }

    /// The addresses for services, without those ending in 0 or 255.
    pub(crate) fn services(self) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses(SERVICES_START, PODS_START - 1)
    }

    /// The addresses for pods, without those ending in 0 or 255.
    pub(crate) fn pods(self) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses(PODS_START, u8::MAX)
    }

    fn addresses(self, first: u8, last: u8) -> impl Iterator<Item = Ipv4Addr> {
        (first..=last).flat_map(move |third| {
            (1..=254).map(move |fourth| Ipv4Addr::new(127, self.0, third, fourth))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap() {
        let subnet = Subnet(7);
        assert_eq!(subnet.api_server(), Ipv4Addr::new(127, 7, 0, 1));
        assert_eq!(subnet.services().next(), Some(Ipv4Addr::new(127, 7, 64, 1)));
        assert_eq!(
            subnet.services().last(),
            Some(Ipv4Addr::new(127, 7, 127, 254))
        );
        assert_eq!(subnet.pods().next(), Some(Ipv4Addr::new(127, 7, 128, 1)));
        assert_eq!(Subnet::all_from_random().count(), 254);
    }
}
