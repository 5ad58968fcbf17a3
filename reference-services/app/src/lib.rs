//! app takes orders for food. An order is accepted only when it is paid.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod ports;
pub mod service;

use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use service_kit::background::Background;
use service_kit::chance::Chance;
use service_kit::database::{Database, OpenError};
use service_kit::events::EventBus;
use service_kit::outbox::{self, OutboxMetrics, Relay};
use service_kit::resilience::{Command, Measurements};
use service_kit::{inbox, metrics};
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
    PayClient(#[from] PayClientError),
}

/// What app runs on.
pub struct Ground {
    /// Where orders under way run.
    pub work: TaskTracker,
    /// Where everything runs that no request waits for.
    pub background: Background,
    /// Without a bus events wait in the outbox, and none is heard.
    pub bus: Option<Arc<dyn EventBus>>,
    pub registry: Registry,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").finish_non_exhaustive()
    }
}

/// Puts app together, ready to be served.
pub async fn build(config: &Config, ground: Ground) -> Result<Router, BuildError> {
    let Ground {
        work,
        background,
        bus,
        mut registry,
    } = ground;

    let database = Arc::new(Database::open(&config.database, &SCHEMAS).await?);
    let orders = SqlOrders::new(Arc::clone(&database));
    let orders = PacedOrders::new(orders, config.costs, config.seed, &mut registry);

    let measurements = Measurements::register("pay", &mut registry);
    let command = Command::start(config.resilience.clone(), measurements);
    let payments = PayClient::new(&config.pay, command, &mut registry)?;

    // Never from the seed: two replicas, or one before and after a restart, would give two orders the
    // same name, and the second would pass as paid.
    let names = Chance::new(None);
    let service = OrderService::new(Arc::new(orders), Arc::new(payments), names, work);

    let outbox_metrics = OutboxMetrics::register(&mut registry);
    if let Some(bus) = bus {
        let relay = Relay::new(
            Arc::clone(&database),
            Arc::clone(&bus),
            outbox_metrics.clone(),
        );
        background.spawn(|stop| async move { relay.run(&stop).await });
        let deliveries = Deliveries(service.clone());
        background.spawn(|stop| async move {
            let consumed = bus
                .consume(&events::subscription(), &deliveries, &stop)
                .await;
            if let Err(error) = consumed {
                tracing::error!(%error, "orders do not follow the store any more");
            }
        });
    }
    spawn_housekeeping(config, &background, &service, database, outbox_metrics);
    Ok(metrics::measured(http::router(service), registry))
}

fn spawn_housekeeping(
    config: &Config,
    background: &Background,
    service: &OrderService,
    database: Arc<Database>,
    outbox_metrics: OutboxMetrics,
) {
    let (service, limit) = (service.clone(), config.intent_limit);
    background.spawn(|stop| async move { service.abandon_overdue(limit, &stop).await });
    let watched = Arc::clone(&database);
    background.spawn(|stop| async move { outbox::watch(&watched, &outbox_metrics, &stop).await });
    let inbox = config.inbox;
    background.spawn(|stop| async move { inbox::expire_regularly(&database, inbox, &stop).await });
}
