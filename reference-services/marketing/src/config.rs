//! The settings of marketing, from the environment.

use std::time::Duration;

use service_kit::env::{Env, EnvError};
use service_kit::events::kafka::KafkaConfig;
use service_kit::folder::FolderConfig;
use service_kit::server::ServerConfig;
use service_kit::telemetry::TelemetryConfig;

use crate::domain::Percent;

/// Everything marketing can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    /// Where events come from and go to, if anywhere.
    pub kafka: Option<KafkaConfig>,
    /// Where the ledger is kept.
    pub folder: FolderConfig,
    pub percent: Percent,
    /// How often coupons are issued.
    pub interval: Duration,
}

impl Config {
    /// Reads, besides what every service reads: `DATA_DIR` (default: a temporary folder),
    /// `COUPON_PERCENT` (default 10) and `COUPON_INTERVAL` (default 1 s).
    pub fn from_env(mut env: Env) -> Result<Self, EnvError> {
        let config = Self {
            server: ServerConfig::from_env(&mut env, 8085),
            telemetry: TelemetryConfig::from_env(&mut env),
            kafka: KafkaConfig::from_env(&mut env),
            folder: FolderConfig::from_env(&env, "marketing"),
            percent: env.parse("COUPON_PERCENT", Percent::TEN),
            interval: env.duration("COUPON_INTERVAL", Duration::from_secs(1)),
        };
        env.finish()?;
        Ok(config)
    }
}
