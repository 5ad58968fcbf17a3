//! pay takes the money for an order, exactly once however often it is asked, and gives it back when
//! the order will not be brought.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service_kit::background::Background;
use service_kit::database::{Database, OpenError};
use service_kit::events::kafka::{self, ClientError};
use service_kit::events::{EventBus, follow};
use service_kit::inbox;
use service_kit::outbox::{self, OutboxMetrics, Relay};
use service_kit::server::{self, Routers};

use crate::adapters::events::{self, Orders};
use crate::adapters::sql::{SCHEMAS, SqlPayments};
use crate::adapters::{grpc, http};
use crate::config::Config;
use crate::service::PaymentService;

/// Why pay could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error(transparent)]
    Bus(#[from] ClientError),
}

/// Puts pay together, ready to be served, with what it does in the background.
pub async fn build(config: &Config) -> Result<(Routers, Background), BuildError> {
    let mut registry = Registry::default();
    let bus = kafka::connect(config.kafka.as_ref(), &mut registry)?;
    Ok(build_on(bus, config, registry).await?)
}

/// The same on a given bus.
pub async fn build_on(
    bus: Option<Arc<dyn EventBus>>,
    config: &Config,
    mut registry: Registry,
) -> Result<(Routers, Background), OpenError> {
    let database = Arc::new(Database::open(&config.database, &SCHEMAS).await?);
    database.register(&mut registry);
    let payments = SqlPayments::new(Arc::clone(&database));
    let service = PaymentService::new(Arc::new(payments), config.answer.clone(), &mut registry);
    let outbox = OutboxMetrics::register(&mut registry);

    let background = Background::default();
    if let Some(bus) = bus {
        let orders = Orders(service.clone());
        let of_consumer = Arc::clone(&bus);
        background.spawn(|stop| follow(of_consumer, events::subscription(), orders, stop));
        let topics = &[events::TOPIC];
        let relay = Relay::new(Arc::clone(&database), bus, topics, outbox.clone());
        background.spawn(|stop| async move { relay.run(&stop).await });
    }
    let watched = Arc::clone(&database);
    background.spawn(|stop| async move { outbox::watch(&watched, &outbox, &stop).await });
    let inbox = config.inbox;
    background.spawn(|stop| async move { inbox::expire_regularly(&database, inbox, &stop).await });
    let service = Arc::new(service);
    let api = http::router(Arc::clone(&service)).merge(grpc::router(service));
    let routers = server::routers(&config.server, api, registry);
    Ok((routers, background))
}
