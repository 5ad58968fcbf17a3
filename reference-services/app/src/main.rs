//! Puts app together and runs it.

use std::process::ExitCode;
use std::sync::Arc;

use app::adapters::costs::PacedOrders;
use app::adapters::http;
use app::adapters::pay::{PayClient, PayClientError};
use app::adapters::sql::SqlOrders;
use app::config::Config;
use app::service::OrderService;
use prometheus_client::registry::Registry;
use service_kit::chance::Chance;
use service_kit::env::{Env, EnvError};
use service_kit::resilience::{Command, Measurements};
use service_kit::server::ServeError;
use service_kit::sqlite::OpenError;
use service_kit::{metrics, server, telemetry};
use tokio_util::task::TaskTracker;

#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error(transparent)]
    Settings(#[from] EnvError),
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error(transparent)]
    PayClient(#[from] PayClientError),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

#[tokio::main]
async fn main() -> ExitCode {
    service_kit::exit(run().await)
}

async fn run() -> Result<(), MainError> {
    let config = Config::from_env(Env::of_process())?;
    telemetry::init(&config.log);
    let mut registry = Registry::default();
    let chance = Arc::new(Chance::new(config.seed));
    let work = TaskTracker::new();

    let orders = SqlOrders::open(&config.database).await?;
    let orders = PacedOrders::new(orders, config.costs, Arc::clone(&chance), &mut registry);
    let command = Command::start(
        config.resilience,
        Measurements::register("pay", &mut registry),
    );
    let payments = PayClient::new(&config.pay, command, &mut registry)?;
    let service = OrderService::new(Arc::new(orders), Arc::new(payments), chance, work.clone());

    let router = http::router(service).merge(metrics::router(registry));
    server::serve(&config.server, router, work).await?;
    Ok(())
}
