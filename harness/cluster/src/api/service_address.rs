//! Giving each Service its cluster address.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::error::{ApiError, Cause, CauseReason};
use crate::object;
use crate::proxy;
use crate::store::{Resource, Store};
use crate::subnet::Subnet;

const HEADLESS: &str = "None";

/// The addresses of one cluster's services.
#[derive(Debug)]
pub(crate) struct ServiceAddresses {
    subnet: Subnet,
    /// Whether the ports of services must be free on 127.0.0.1 too.
    published: bool,
    /// Held from choosing an address until the service is stored.
    choosing: Mutex<()>,
}

impl ServiceAddresses {
    pub(crate) fn new(subnet: Subnet, published: bool) -> Self {
        Self {
            subnet,
            published,
            choosing: Mutex::new(()),
        }
    }

    /// Stores a new service with the address it asks for, or else a free one.
    pub(super) fn create(&self, store: &Store, mut service: Value) -> Result<Arc<Value>, ApiError> {
        let _choosing = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let (namespace, name) = (object::namespace(&service), object::name(&service));
        if store.get(Resource::Services, namespace, name).is_none() {
            let address = self.choose(store, &service)?;
            if address != HEADLESS {
                self.check_ports(store, &service, &address)?;
            }
            set(&mut service, &address);
        }
        Ok(store.create(Resource::Services, service)?)
    }

    fn choose(&self, store: &Store, service: &Value) -> Result<String, ApiError> {
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
            "" => match self.free(&used) {
                Some(free) => return Ok(free),
                None => "no address is free".to_owned(),
            },
            _ if used.contains(asked) => format!("{asked}: provided IP is already allocated"),
            _ if in_range() => return Ok(asked.to_owned()),
            _ => format!("{asked}: not in the range of this cluster's services"),
        };
        Err(refused(service, "spec.clusterIP", &problem))
    }

    /// Whether the proxy will be able to listen for a new service.
    fn check_ports(&self, store: &Store, service: &Value, address: &str) -> Result<(), ApiError> {
        let Ok(address) = address.parse::<IpAddr>() else {
            return Ok(());
        };
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        for (index, port) in ports.enumerate() {
            let number = port["port"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok());
            let Some(number) = number else { continue };
            let mut outcome = proxy::check_listenable(address, number);
            if self.published {
                outcome = outcome.and_then(|()| proxy::check_publishable(store, number));
            }
            outcome.map_err(|error| {
                let field = format!("spec.ports[{index}].port");
                refused(service, &field, &error.to_string())
            })?;
        }
        Ok(())
    }

    fn free(&self, used: &BTreeSet<&str>) -> Option<String> {
        self.subnet
            .services()
            .map(|address| address.to_string())
            .find(|address| !used.contains(address.as_str()))
    }
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

fn refused(service: &Value, field: &str, message: &str) -> ApiError {
    ApiError::Invalid {
        resource: Resource::Services,
        name: object::name(service).to_owned(),
        causes: vec![Cause::new(CauseReason::Invalid, field, message)],
    }
}
