//! Where the proxy listens, and whether it could listen elsewhere, too.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use tokio::sync::watch;

use crate::store::{Resource, Store};

/// Why a service port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error(
        "port {port} on {address} is already in use by another process, perhaps one that listens on all addresses: end that process, or give the service another port"
    )]
    InUse { address: IpAddr, port: u16 },
    #[error("port {port} on 127.0.0.1 is already published for service {namespace}/{name}")]
    Published {
        port: u16,
        namespace: String,
        name: String,
    },
    #[error(
        "port {port} on {address} needs a privilege that this user does not have: give the service a port from 1024 up"
    )]
    Privileged { address: IpAddr, port: u16 },
    #[error("port {port} on {address} cannot be listened on: {reason}")]
    Refused {
        address: IpAddr,
        port: u16,
        reason: String,
    },
}

/// Where the proxy itself listens. Clones follow the same proxy; the default follows none.
#[derive(Clone, Debug)]
pub(crate) struct OwnListeners(watch::Receiver<HashSet<SocketAddr>>);

impl Default for OwnListeners {
    fn default() -> Self {
        Self(watch::channel(HashSet::new()).1)
    }
}

impl OwnListeners {
    /// `listening` is kept up to date by the proxy.
    pub(super) fn new(listening: watch::Receiver<HashSet<SocketAddr>>) -> Self {
        Self(listening)
    }

    fn contain(&self, address: SocketAddr) -> bool {
        self.0.borrow().contains(&address)
    }
}

/// The services of this moment.
pub(crate) fn services(store: &Store) -> Vec<Arc<Service>> {
    let (services, _) = store.list(Resource::Services, None);
    services
        .iter()
        .filter_map(|service| service.typed())
        .collect()
}

/// Whether the proxy could listen on a port of an address that no service has yet. Where it still
/// listens for a service that is gone it can stay.
pub(crate) fn check_listenable(
    own: &OwnListeners,
    address: IpAddr,
    port: u16,
) -> Result<(), PortError> {
    if own.contain(SocketAddr::new(address, port)) {
        return Ok(());
    }
    let Err(error) = std::net::TcpListener::bind((address, port)) else {
        return Ok(());
    };
    Err(match error.kind() {
        io::ErrorKind::AddrInUse => PortError::InUse { address, port },
        io::ErrorKind::PermissionDenied => PortError::Privileged { address, port },
        _ => PortError::Refused {
            address,
            port,
            reason: error.to_string(),
        },
    })
}

/// Whether the proxy could publish on 127.0.0.1 a port that comes to these services.
pub(crate) fn check_publishable(
    own: &OwnListeners,
    services: &[Arc<Service>],
    port: u16,
) -> Result<(), PortError> {
    match services.iter().find(|service| publishes(service, port)) {
        Some(service) => Err(PortError::Published {
            port,
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            name: service.metadata.name.clone().unwrap_or_default(),
        }),
        None => check_listenable(own, Ipv4Addr::LOCALHOST.into(), port),
    }
}

fn publishes(service: &Service, port: u16) -> bool {
    let Some(spec) = &service.spec else {
        return false;
    };
    let mut ports = spec.ports.iter().flatten();
    spec.cluster_ip.as_deref() != Some("None") && ports.any(|used| used.port == i32::from(port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let own = OwnListeners::default();
        let error = check_publishable(&own, &[], port).unwrap_err();
        let expected = format!("port {port} on 127.0.0.1 is already in use by another process");
        assert!(error.to_string().starts_with(&expected), "{error}");
        drop(other);
        check_publishable(&own, &[], port).unwrap();
        let service: Result<Service, _> = serde_json::from_value(json!({
            "metadata": {"name": "app", "namespace": "default"},
            "spec": {"clusterIP": "127.80.64.1", "ports": [{"port": port}]},
        }));
        let error = check_publishable(&own, &[Arc::new(service.unwrap())], port).unwrap_err();
        assert!(error.to_string().ends_with("default/app"), "{error}");
    }
}
