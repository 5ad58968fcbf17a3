//! The settings of pay, from the environment.

use std::time::Duration;

use service_kit::database::DatabaseConfig;
use service_kit::env::{Env, EnvError};
use service_kit::events::kafka::KafkaConfig;
use service_kit::inbox::InboxConfig;
use service_kit::server::ServerConfig;
use service_kit::telemetry::TelemetryConfig;

use crate::service::AnswerTime;

/// Everything pay can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    pub database: DatabaseConfig,
    /// `None` is no bus.
    pub kafka: Option<KafkaConfig>,
    pub inbox: InboxConfig,
    pub answer: AnswerTime,
}

impl Config {
    /// Reads, besides what every service reads: `PAY_LATENCY_BASE` (default 400 ms),
    /// `PAY_LATENCY_JITTER` (default 220 ms), `PAY_OVERHEAD` (default 0), `PAY_PROCESSOR_TIME`
    /// (default 0) and `RNG_SEED` (default: a different series on each start).
    pub fn from_env(mut env: Env) -> Result<Self, EnvError> {
        let config = Self {
            server: ServerConfig::from_env(&mut env, 8082),
            telemetry: TelemetryConfig::from_env(&mut env),
            database: DatabaseConfig::from_env(&mut env, "pay"),
            kafka: KafkaConfig::from_env(&mut env),
            inbox: InboxConfig::from_env(&mut env),
            answer: AnswerTime {
                latency_base: env.duration("PAY_LATENCY_BASE", Duration::from_millis(400)),
                latency_jitter: env.duration("PAY_LATENCY_JITTER", Duration::from_millis(220)),
                overhead: env.duration("PAY_OVERHEAD", Duration::ZERO),
                processor: env.duration("PAY_PROCESSOR_TIME", Duration::ZERO),
                seed: env.parse_optional("RNG_SEED"),
            },
        };
        env.finish()?;
        Ok(config)
    }
}
