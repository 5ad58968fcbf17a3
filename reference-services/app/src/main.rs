//! Runs app.

use std::process::ExitCode;

use app::config::Config;
use app::{BuildError, Ground};
use prometheus_client::registry::Registry;
use service_kit::background::Background;
use service_kit::env::{Env, EnvError};
use service_kit::events::kafka::{self, ClientError};
use service_kit::server::ServeError;
use service_kit::{server, telemetry};
use tokio_util::task::TaskTracker;

#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error(transparent)]
    Settings(#[from] EnvError),
    #[error(transparent)]
    Bus(#[from] ClientError),
    #[error(transparent)]
    Build(#[from] BuildError),
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
    let bus = kafka::connect(config.kafka.as_ref(), &mut registry)?;
    let work = TaskTracker::new();
    let background = Background::default();
    let ground = Ground {
        work: work.clone(),
        background: background.clone(),
        bus,
        registry,
    };
    let router = app::build(&config, ground).await?;
    let served = server::serve(&config.server, router, work).await;
    background.end().await;
    Ok(served?)
}
