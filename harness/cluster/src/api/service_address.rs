//! Giving each Service its cluster address.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::error::{ApiError, Cause, CauseReason};
use crate::object;
use crate::store::{Resource, Store};
use crate::subnet::Subnet;

const HEADLESS: &str = "None";

/// The addresses of one cluster's services.
#[derive(Debug)]
pub(super) struct ServiceAddresses {
    subnet: Subnet,
    /// Held from choosing an address until the service is stored.
    choosing: Mutex<()>,
}

impl ServiceAddresses {
    pub(super) fn new(subnet: Subnet) -> Self {
        Self {
            subnet,
            choosing: Mutex::new(()),
        }
    }

    /// Stores a new service with the address it asks for, or else a free one.
    pub(super) fn create(&self, store: &Store, mut service: Value) -> Result<Arc<Value>, ApiError> {
        let _choosing = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let (services, _) = store.list(Resource::Services, None);
        let used: BTreeSet<_> = services
            .iter()
            .map(|service| object::text(service, "/spec/clusterIP"))
            .collect();
        let asked = object::text(&service, "/spec/clusterIP").to_owned();
        let address = match asked.as_str() {
            HEADLESS => asked,
            "" => self
                .free(&used)
                .ok_or_else(|| refused(&service, "no address is free"))?,
            _ if !self
                .subnet
                .services()
                .any(|address| address.to_string() == asked) =>
            {
                let message = format!("{asked}: not in the range of this cluster's services");
                return Err(refused(&service, &message));
            }
            _ if used.contains(asked.as_str()) => {
                return Err(refused(
                    &service,
                    &format!("{asked}: provided IP is already allocated"),
                ));
            }
            _ => asked,
        };
        set(&mut service, &address);
        Ok(store.create(Resource::Services, service)?)
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

fn refused(service: &Value, message: &str) -> ApiError {
    ApiError::Invalid {
        resource: Resource::Services,
        name: object::name(service).to_owned(),
        causes: vec![Cause::new(CauseReason::Invalid, "spec.clusterIP", message)],
    }
}
