//! The settings of customer, from the environment.

use service_kit::env::{Env, EnvError};
use service_kit::events::kafka::KafkaConfig;
use service_kit::folder::FolderConfig;
use service_kit::server::ServerConfig;
use service_kit::telemetry::TelemetryConfig;

/// Everything customer can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    /// Where events come from and go to, if anywhere.
    pub kafka: Option<KafkaConfig>,
    /// Where the view is kept.
    pub folder: FolderConfig,
}

impl Config {
    /// Reads what every service reads, and `DATA_DIR` (default: a temporary folder).
    pub fn from_env(mut env: Env) -> Result<Self, EnvError> {
        let config = Self {
            server: ServerConfig::from_env(&mut env, 8084),
            telemetry: TelemetryConfig::from_env(&mut env),
            kafka: KafkaConfig::from_env(&mut env),
            folder: FolderConfig::from_env(&env, "customer"),
        };
        env.finish()?;
        Ok(config)
    }
}
