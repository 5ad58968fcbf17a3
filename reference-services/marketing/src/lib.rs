//! marketing gives a coupon for each order that was delivered, when it finds the time.

pub mod adapters;
pub mod campaign;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service_kit::background::Background;
use service_kit::events::kafka::{self, ClientError};
use service_kit::events::{EventBus, follow};
use service_kit::server::{self, Routers};

use crate::adapters::events::{self, Deliveries};
use crate::adapters::files::{FileLedger, OpenError};
use crate::adapters::http;
use crate::config::Config;
use crate::service::MarketingService;

/// Why marketing could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Ledger(#[from] OpenError),
    #[error(transparent)]
    Bus(#[from] ClientError),
}

/// Puts marketing together, ready to be served, with what it does in the background.
pub fn build(config: &Config) -> Result<(Routers, Background), BuildError> {
    let mut registry = Registry::default();
    let bus = kafka::connect(config.kafka.as_ref(), &mut registry)?;
    Ok(build_on(bus, config, registry)?)
}

/// The same on a given bus.
pub fn build_on(
    bus: Option<Arc<dyn EventBus>>,
    config: &Config,
    mut registry: Registry,
) -> Result<(Routers, Background), OpenError> {
    let ledger = FileLedger::open(&config.folder)?;
    let subscription = events::subscription(ledger.identity());
    let service = MarketingService::new(Arc::new(ledger), config.percent, &mut registry);

    let background = Background::default();
    background.spawn(|stop| campaign::issue(service.clone(), config.interval, stop));
    if let Some(bus) = bus {
        let deliveries = Deliveries(service.clone());
        let of_consumer = Arc::clone(&bus);
        background.spawn(|stop| follow(of_consumer, subscription, deliveries, stop));
        background.spawn(|stop| campaign::publish(service.clone(), bus, stop));
    }
    let routers = server::routers(&config.server, http::router(service), registry);
    Ok((routers, background))
}
