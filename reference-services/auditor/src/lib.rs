//! auditor says whether the services keep the promises that none of them can keep alone. It asks only
//! what anybody can ask them.

pub mod adapters;
pub mod books;
pub mod config;
pub mod domain;
pub mod ports;

use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use service_kit::metrics;

use crate::adapters::http;
use crate::adapters::services::{ClientError, HttpServices};
use crate::config::Config;

/// Puts auditor together, ready to be served.
pub fn build(config: &Config) -> Result<Router, ClientError> {
    let services = HttpServices::new(config.addresses.clone())?;
    Ok(metrics::measured(
        http::router(Arc::new(services), config.events),
        Registry::default(),
    ))
}
