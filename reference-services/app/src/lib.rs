//! app takes orders for food. An order is accepted only when it is paid.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;

use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use service_kit::chance::Chance;
use service_kit::database::OpenError;
use service_kit::metrics;
use service_kit::resilience::{Command, Measurements};
use tokio_util::task::TaskTracker;

use crate::adapters::costs::PacedOrders;
use crate::adapters::http;
use crate::adapters::pay::{PayClient, PayClientError};
use crate::adapters::sql::SqlOrders;
use crate::config::Config;
use crate::service::OrderService;

/// Why app could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error(transparent)]
    PayClient(#[from] PayClientError),
}

/// Puts app together, ready to be served. Orders under way run on `work`.
pub async fn build(config: &Config, work: TaskTracker) -> Result<Router, BuildError> {
    let mut registry = Registry::default();

    let orders = SqlOrders::open(&config.database).await?;
    let orders = PacedOrders::new(orders, config.costs, config.seed, &mut registry);

    let measurements = Measurements::register("pay", &mut registry);
    let command = Command::start(config.resilience.clone(), measurements);
    let payments = PayClient::new(&config.pay, command, &mut registry)?;

    // Never from the seed: two replicas, or one before and after a restart, would give two orders the
    // same name, and the second would pass as paid.
    let names = Chance::new(None);
    let service = OrderService::new(Arc::new(orders), Arc::new(payments), names, work);
    Ok(metrics::measured(http::router(service), registry))
}
