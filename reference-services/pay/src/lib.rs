//! pay takes the money for an order, exactly once however often it is asked.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;

use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use service_kit::database::OpenError;
use service_kit::metrics;

use crate::adapters::sql::SqlPayments;
use crate::adapters::{grpc, http};
use crate::config::Config;
use crate::service::PaymentService;

/// Puts pay together, ready to be served.
pub async fn build(config: &Config) -> Result<Router, OpenError> {
    let mut registry = Registry::default();
    let payments = SqlPayments::open(&config.database).await?;
    let service = PaymentService::new(Arc::new(payments), config.answer.clone(), &mut registry);
    let service = Arc::new(service);
    let api = http::router(Arc::clone(&service)).merge(grpc::router(service));
    Ok(metrics::measured(api, registry))
}
