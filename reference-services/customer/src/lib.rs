//! customer shows people what became of their orders, from what it heard alone: it asks nobody.

pub mod adapters;
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

use crate::adapters::events::{self, Happenings};
use crate::adapters::http;
use crate::adapters::kv::{KvViews, OpenError};
use crate::config::Config;
use crate::service::CustomerService;

/// Why customer could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    View(#[from] OpenError),
    #[error(transparent)]
    Bus(#[from] ClientError),
}

/// Puts customer together, ready to be served, with what it does in the background.
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
    let views = KvViews::open(&config.folder)?;
    let subscription = events::subscription(views.identity());
    let service = CustomerService::new(Arc::new(views), &mut registry);

    let background = Background::default();
    if let Some(bus) = bus {
        let happenings = Happenings(service.clone());
        background.spawn(|stop| follow(bus, subscription, happenings, stop));
    }
    let routers = server::routers(&config.server, http::router(service), registry);
    Ok((routers, background))
}
