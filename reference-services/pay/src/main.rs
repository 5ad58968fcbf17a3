//! Puts pay together and runs it.

use std::process::ExitCode;
use std::sync::Arc;

use pay::adapters::{http, sql::SqlPayments};
use pay::config::Config;
use pay::service::PaymentService;
use prometheus_client::registry::Registry;
use service_kit::env::{Env, EnvError};
use service_kit::server::ServeError;
use service_kit::{metrics, server, telemetry};
use tokio_util::task::TaskTracker;

#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error(transparent)]
    Settings(#[from] EnvError),
    #[error(transparent)]
    Database(#[from] service_kit::sqlite::OpenError),
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
    let payments = SqlPayments::open(&config.database).await?;
    let service = Arc::new(PaymentService::new(Arc::new(payments), config.answer));
    let router = http::router(service).merge(metrics::router(Registry::default()));
    server::serve(&config.server, router, TaskTracker::new()).await?;
    Ok(())
}
