//! Runs auditor.

use std::process::ExitCode;

use auditor::adapters::services::ClientError;
use auditor::config::Config;
use service_kit::env::{Env, EnvError};
use service_kit::server::ServeError;
use service_kit::telemetry::CollectorError;
use service_kit::{server, telemetry};
use tokio_util::task::TaskTracker;

#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error(transparent)]
    Settings(#[from] EnvError),
    #[error(transparent)]
    Collector(#[from] CollectorError),
    #[error(transparent)]
    Build(#[from] ClientError),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

#[tokio::main]
async fn main() -> ExitCode {
    service_kit::exit(run().await)
}

async fn run() -> Result<(), MainError> {
    let config = Config::from_env(Env::of_process())?;
    let telemetry = telemetry::start(&config.telemetry)?;
    let routers = auditor::build(&config)?;
    let served = server::serve(&config.server, routers, TaskTracker::new()).await;
    telemetry.end().await;
    Ok(served?)
}
