//! Where new connections go, as the coordinator knows it: for workers that dial endpoints
//! themselves, in the place of a Service's proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::seq::IndexedRandom as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::target::{Connector, Endpoint};

/// The endpoints of services at one moment, by the services' addresses. A service without an
/// endpoint has an empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Routes(BTreeMap<SocketAddr, Vec<Endpoint>>);

/// Addresses and names of endpoints, by the services' addresses.
type Wire = BTreeMap<SocketAddr, Vec<(SocketAddr, Option<String>)>>;

impl From<Wire> for Routes {
    fn from(wire: Wire) -> Self {
        let endpoint = |(address, name): (SocketAddr, Option<String>)| Endpoint {
            address,
            name: name.map(Arc::from),
        };
        let services = wire.into_iter();
        services
            .map(|(service, endpoints)| (service, endpoints.into_iter().map(endpoint).collect()))
            .collect()
    }
}

impl From<Routes> for Wire {
    fn from(routes: Routes) -> Self {
        let endpoint = |endpoint: Endpoint| {
            (
                endpoint.address,
                endpoint.name.map(|name| (*name).to_owned()),
            )
        };
        let services = routes.0.into_iter();
        services
            .map(|(service, endpoints)| (service, endpoints.into_iter().map(endpoint).collect()))
            .collect()
    }
}

impl FromIterator<(SocketAddr, Vec<Endpoint>)> for Routes {
    fn from_iter<I: IntoIterator<Item = (SocketAddr, Vec<Endpoint>)>>(each: I) -> Self {
        Self(each.into_iter().collect())
    }
}

/// Follows the routes that the coordinator tells.
#[derive(Debug)]
pub(crate) struct Followed(pub(crate) watch::Receiver<Routes>);

impl Connector for Followed {
    /// Any endpoint of the service at `address`, or `address` itself when no service is there.
    fn endpoint(&self, address: SocketAddr) -> Option<Endpoint> {
        match self.0.borrow().0.get(&address) {
            Some(endpoints) => endpoints.choose(&mut rand::rng()).cloned(),
            None => Some(Endpoint {
                address,
                name: None,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_survive_the_wire_and_are_followed() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let (service, empty) = (at("127.9.64.1:80"), at("[::1]:80"));
        let pod = |address: &str, name: Option<&str>| Endpoint {
            address: at(address),
            name: name.map(Arc::from),
        };
        let pods = vec![
            pod("127.9.128.1:80", Some("app-1")),
            pod("127.9.128.2:80", None),
        ];
        let routes = Routes::from_iter([(service, pods.clone()), (empty, vec![])]);
        let told = serde_json::to_string(&routes).unwrap();
        let told: Routes = serde_json::from_str(&told).unwrap();
        assert_eq!(told, routes);
        let (tell, followed) = watch::channel(told);
        let followed = Followed(followed);
        let chosen = || followed.endpoint(service).unwrap();
        assert!((0..100).all(|_| pods.contains(&chosen())));
        assert_eq!(followed.endpoint(empty), None);
        let itself = pod("127.0.0.1:80", None);
        assert_eq!(followed.endpoint(itself.address), Some(itself.clone()));
        tell.send_replace(Routes::default());
        assert_eq!(followed.endpoint(service), Some(pod("127.9.64.1:80", None)));
    }
}
