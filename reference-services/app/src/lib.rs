//! app takes orders for food. An order is accepted only when it is paid.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service_kit::background::Background;
use service_kit::chance::Chance;
use service_kit::database::{Database, OpenError};
use service_kit::events::kafka::{self, ClientError};
use service_kit::events::{EventBus, follow};
use service_kit::inbox;
use service_kit::outbox::{self, OutboxMetrics, Relay};
use service_kit::server::{self, Routers};
use tokio_util::task::TaskTracker;

use crate::adapters::costs::PacedOrders;
use crate::adapters::events::{self, Deliveries};
use crate::adapters::http;
use crate::adapters::pay::{PayClient, PayClientError};
use crate::adapters::sql::{SCHEMAS, SqlOrders};
use crate::config::Config;
use crate::service::OrderService;

/// Why app could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error(transparent)]
    Bus(#[from] ClientError),
    #[error(transparent)]
    PayClient(#[from] PayClientError),
}

/// Puts app together, ready to be served, with what it does in the background. Orders under way run
/// on `work`.
pub async fn build(
    config: &Config,
    work: TaskTracker,
) -> Result<(Routers, Background), BuildError> {
    let mut registry = Registry::default();
    let bus = kafka::connect(config.kafka.as_ref(), &mut registry)?;
    build_on(bus, config, registry, work).await
}

/// The same on a given bus.
pub async fn build_on(
    bus: Option<Arc<dyn EventBus>>,
    config: &Config,
    mut registry: Registry,
    work: TaskTracker,
) -> Result<(Routers, Background), BuildError> {
    let database = Arc::new(Database::open(&config.database, &SCHEMAS).await?);
    database.register(&mut registry);
    let orders = SqlOrders::new(Arc::clone(&database));
    let orders = PacedOrders::new(orders, config.costs, config.seed, &mut registry);

    let payments = PayClient::start(&config.pay, &mut registry).await?;
    let protection = payments.command();

    // Never from the seed: two replicas, or one before and after a restart, would give two orders the
    // same name, and the second would pass as paid.
    let names = Chance::new(None);
    let service = OrderService::new(Arc::new(orders), Arc::new(payments), names, work);

    let outbox = OutboxMetrics::register(&mut registry);
    let background = start_background(bus, config, database, outbox, service.clone());
    let routers = server::routers(&config.server, http::router(service), registry);
    // Around everything that is answered to a client, also to one who asks for what is not there.
    let api = http::telling_of_circuit(routers.api, protection);
    Ok((Routers { api, ..routers }, background))
}

fn start_background(
    bus: Option<Arc<dyn EventBus>>,
    config: &Config,
    database: Arc<Database>,
    outbox: OutboxMetrics,
    service: OrderService,
) -> Background {
    let background = Background::default();
    if let Some(bus) = bus {
        let deliveries = Deliveries(service.clone());
        let of_consumer = Arc::clone(&bus);
        background.spawn(|stop| follow(of_consumer, events::subscription(), deliveries, stop));
        let topics = &[events::TOPIC];
        let relay = Relay::new(Arc::clone(&database), bus, topics, outbox.clone());
        background.spawn(|stop| async move { relay.run(&stop).await });
    }
    let limit = config.intent_limit;
    background.spawn(|stop| async move { service.abandon_overdue(limit, &stop).await });
    let watched = Arc::clone(&database);
    background.spawn(|stop| async move { outbox::watch(&watched, &outbox, &stop).await });
    let inbox = config.inbox;
    background.spawn(|stop| async move { inbox::expire_regularly(&database, inbox, &stop).await });
    background
}
