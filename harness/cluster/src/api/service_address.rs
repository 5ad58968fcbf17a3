//! Giving each Service its cluster address, and seeing that its ports can be listened on.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::error::{ApiError, Cause, CauseReason};
use crate::object;
use crate::proxy::{self, OwnListeners, PortError};
use crate::store::{Resource, Store, Stored};
use crate::subnet::Subnet;

const HEADLESS: &str = "None";

/// The addresses of one cluster's services.
#[derive(Debug)]
pub(crate) struct ServiceAddresses {
    subnet: Subnet,
    /// Whether the ports of services must be free on 127.0.0.1 too.
    published: bool,
    own: OwnListeners,
    /// All addresses, the one that was chosen last at the end: the proxy may still listen at that of a
    /// service that is gone, and would send the clients of a new one there to pods that are gone, too.
    /// Held from choosing an address until the service is stored.
    turn: Mutex<VecDeque<Ipv4Addr>>,
}

impl ServiceAddresses {
    pub(crate) fn new(subnet: Subnet, published: bool, own: OwnListeners) -> Self {
        Self {
            subnet,
            published,
            own,
            turn: Mutex::new(subnet.services().collect()),
        }
    }

    /// Stores a new service with the address it asks for, or else a free one.
    pub(super) fn create(
        &self,
        store: &Store,
        mut service: Value,
    ) -> Result<Arc<Stored>, ApiError> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (namespace, name) = (object::namespace(&service), object::name(&service));
        if store.get(Resource::Services, namespace, name).is_none() {
            let address = self.choose(store, &service, &mut turn)?;
            set(&mut service, &address);
            self.port_check(store).check(&service, None)?;
        }
        Ok(store.create(Resource::Services, service)?)
    }

    fn choose(
        &self,
        store: &Store,
        service: &Value,
        turn: &mut VecDeque<Ipv4Addr>,
    ) -> Result<String, ApiError> {
        let (services, _) = store.list(Resource::Services, None);
        let addresses = services
            .iter()
            .map(|service| object::text(service, "/spec/clusterIP"));
        let used: BTreeSet<_> = addresses.collect();
        let asked = object::text(service, "/spec/clusterIP");
        let in_range = || {
            self.subnet
                .services()
                .any(|address| address.to_string() == asked)
        };
        let problem = match asked {
            HEADLESS => return Ok(asked.to_owned()),
            "" => match next_free(turn, &used) {
                Some(free) => return Ok(free),
                None => "no address is free".to_owned(),
            },
            _ if used.contains(asked) => format!("{asked}: provided IP is already allocated"),
            _ if in_range() => return Ok(asked.to_owned()),
            _ => format!("{asked}: not in the range of this cluster's services"),
        };
        let cause = Cause::new(CauseReason::Invalid, "spec.clusterIP", problem);
        Err(invalid(service, vec![cause]))
    }

    /// A check against the services that are there now.
    pub(super) fn port_check(&self, store: &Store) -> PortCheck {
        PortCheck {
            own: self.own.clone(),
            published: self.published.then(|| proxy::services(store)),
        }
    }
}

/// Takes the next address whose turn it is that no service has.
fn next_free(turn: &mut VecDeque<Ipv4Addr>, used: &BTreeSet<&str>) -> Option<String> {
    for _ in 0..turn.len() {
        turn.rotate_left(1);
        let address = turn.back()?.to_string();
        if !used.contains(address.as_str()) {
            return Some(address);
        }
    }
    None
}

/// Whether the proxy will be able to listen on the ports of a service.
#[derive(Debug)]
pub(super) struct PortCheck {
    own: OwnListeners,
    /// All services, if their ports must be free on 127.0.0.1 too.
    published: Option<Vec<Arc<Service>>>,
}

impl PortCheck {
    /// Checks a new service, or with `old` the ports which a change adds.
    pub(super) fn check(&self, service: &Value, old: Option<&Value>) -> Result<(), ApiError> {
        let Ok(address) = object::text(service, "/spec/clusterIP").parse::<IpAddr>() else {
            // Nobody listens for a headless service.
            return Ok(());
        };
        let before: Vec<u16> = old.into_iter().flat_map(numbers).flatten().collect();
        let mut causes = Vec::new();
        for (index, number) in numbers(service).enumerate() {
            let added = number.filter(|number| !before.contains(number));
            let outcome = added.map_or(Ok(()), |number| self.check_port(address, number));
            if let Err(error) = outcome {
                let field = format!("spec.ports[{index}].port");
                causes.push(Cause::new(CauseReason::Invalid, field, error.to_string()));
            }
        }
        if causes.is_empty() {
            Ok(())
        } else {
            Err(invalid(service, causes))
        }
    }

    fn check_port(&self, address: IpAddr, port: u16) -> Result<(), PortError> {
        proxy::check_listenable(&self.own, address, port)?;
        match &self.published {
            Some(services) => proxy::check_publishable(&self.own, services, port),
            None => Ok(()),
        }
    }
}

/// The port numbers of a service in their order; none where there is no valid number.
fn numbers(service: &Value) -> impl Iterator<Item = Option<u16>> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.map(|port| u16::try_from(port["port"].as_u64()?).ok())
}

/// A changed service which does not name its address keeps the one it has.
pub(super) fn keep(old: &Value, new: &mut Value) {
    if object::text(new, "/spec/clusterIP").is_empty() {
        let address = object::text(old, "/spec/clusterIP").to_owned();
        set(new, &address);
    }
}

fn set(service: &mut Value, address: &str) {
    service["spec"]["clusterIP"] = address.into();
    service["spec"]["clusterIPs"] = json!([address]);
}

fn invalid(service: &Value, causes: Vec<Cause>) -> ApiError {
    ApiError::Invalid {
        resource: Resource::Services,
        name: object::name(service).to_owned(),
        causes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(ports: &[u16]) -> Value {
        let ports: Vec<_> = ports.iter().map(|port| json!({"port": port})).collect();
        json!({
            "metadata": {"name": "app", "namespace": "default"},
            "spec": {"clusterIP": "127.0.0.1", "ports": ports},
        })
    }

    #[test]
    fn an_address_that_was_just_given_back_is_the_last_to_be_given_again() {
        let subnet = Subnet::new(80).unwrap();
        let mut turn: VecDeque<_> = subnet.services().take(3).collect();
        let mut next = |used: &[&str]| next_free(&mut turn, &used.iter().copied().collect());
        let [a, b, c] = ["127.80.64.1", "127.80.64.2", "127.80.64.3"];
        assert_eq!(next(&[]).as_deref(), Some(a));
        assert_eq!(next(&[]).as_deref(), Some(b), "though the first is free");
        assert_eq!(next(&[c]).as_deref(), Some(a), "though it was given");
        assert_eq!(next(&[a, b, c]), None);
    }

    #[test]
    fn of_a_change_only_added_ports_are_checked() {
        let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [kept, taken] = listeners
            .each_ref()
            .map(|listener| listener.local_addr().unwrap().port());
        let check = PortCheck {
            own: OwnListeners::default(),
            published: None,
        };
        let old = service(&[kept]);
        check.check(&old, Some(&old)).unwrap();
        let refused = check.check(&service(&[kept, taken]), Some(&old));
        let Err(ApiError::Invalid { causes, .. }) = refused else {
            panic!("{refused:?}")
        };
        let fields: Vec<_> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(fields, ["spec.ports[1].port"]);
        drop(listeners);
        check.check(&service(&[kept, taken]), Some(&old)).unwrap();
    }
}
