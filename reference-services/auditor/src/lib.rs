//! auditor says whether the services keep the promises that none of them can keep alone. It asks only
//! what anybody can ask them.

pub mod adapters;
pub mod books;
pub mod config;
pub mod domain;
pub mod ports;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service_kit::server::{self, Routers};

use crate::adapters::http;
use crate::adapters::services::{Addresses, ClientError, HttpServices};
use crate::config::Config;

/// Puts auditor together, ready to be served.
pub fn build(config: &Config) -> Result<Routers, ClientError> {
    warn_of_closed_books(&config.addresses);
    let services = HttpServices::new(config.addresses.clone())?;
    let api = http::router(Arc::new(services), config.events);
    Ok(server::routers(&config.server, api, Registry::default()))
}

/// What is not looked at cannot be found wanting: whoever reads that all promises are kept is to know
/// which of them were not asked after.
fn warn_of_closed_books(addresses: &Addresses) {
    for (address, service, book) in [
        (&addresses.store, "store", "deliveries"),
        (&addresses.customer, "customer", "notifications"),
        (&addresses.marketing, "marketing", "coupons"),
    ] {
        if address.is_none() {
            let name = service.to_uppercase();
            tracing::warn!(
                "{name}_URL is not set, nor {name}_SERVICE_HOST and _PORT: \
                 the {book} of {service} are not asked for"
            );
        }
    }
}
