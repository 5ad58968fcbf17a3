//! The settings of store, from the environment.

use std::time::Duration;

use service_kit::database::DatabaseConfig;
use service_kit::env::{Env, EnvError};
use service_kit::events::kafka::KafkaConfig;
use service_kit::inbox::InboxConfig;
use service_kit::server::ServerConfig;
use service_kit::telemetry::TelemetryConfig;

use crate::domain::Pace;

/// Everything store can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    /// Where events come from and go to, if anywhere.
    pub kafka: Option<KafkaConfig>,
    pub database: DatabaseConfig,
    pub inbox: InboxConfig,
    pub pace: Pace,
    /// How often to look for due steps at least.
    pub poll: Duration,
}

impl Config {
    /// Reads, besides what every service reads: `STORE_ACCEPT_TIME` (default 200 ms),
    /// `STORE_START_TIME` (default 500 ms), `STORE_COOKING_TIME` (default 500 ms),
    /// `STORE_RIDER_TIME` (default 500 ms) and `STORE_POLL` (default 500 ms).
    pub fn from_env(mut env: Env) -> Result<Self, EnvError> {
        let half_a_second = Duration::from_millis(500);
        let config = Self {
            server: ServerConfig::from_env(&mut env, 8083),
            telemetry: TelemetryConfig::from_env(&mut env),
            kafka: KafkaConfig::from_env(&mut env),
            database: DatabaseConfig::from_env(&mut env, "store"),
            inbox: InboxConfig::from_env(&mut env),
            pace: Pace {
                accept: env.duration("STORE_ACCEPT_TIME", Duration::from_millis(200)),
                start: env.duration("STORE_START_TIME", half_a_second),
                cooking: env.duration("STORE_COOKING_TIME", half_a_second),
                rider: env.duration("STORE_RIDER_TIME", half_a_second),
            },
            poll: env.duration("STORE_POLL", half_a_second),
        };
        env.finish()?;
        Ok(config)
    }
}
