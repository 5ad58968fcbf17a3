//! The settings of auditor, from the environment.

use service_kit::env::{Env, EnvError};
use service_kit::server::ServerConfig;
use service_kit::telemetry::TelemetryConfig;

use crate::adapters::services::Addresses;
use crate::domain::Events;

/// Everything auditor can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    pub addresses: Addresses,
    pub events: Events,
}

impl Config {
    /// Reads, besides what every service reads, for each of `APP`, `PAY`, `STORE`, `CUSTOMER` and
    /// `MARKETING`: `<name>_URL`, else `<name>_SERVICE_HOST` and `<name>_SERVICE_PORT` (which
    /// Kubernetes sets). Without either, app and pay are at their ports of this machine, and the
    /// others are not asked. `AUDIT_EVENTS=off` says that there is no broker.
    pub fn from_env(mut env: Env) -> Result<Self, EnvError> {
        let events = [("on", Events::Heard), ("off", Events::Unheard)];
        let config = Self {
            events: env.choice("AUDIT_EVENTS", Events::Heard, &events),
            server: ServerConfig::from_env(&mut env, 8086),
            telemetry: TelemetryConfig::from_env(&mut env),
            addresses: Addresses {
                app: address(&env, "APP").unwrap_or_else(|| "http://localhost:8081".to_owned()),
                pay: address(&env, "PAY").unwrap_or_else(|| "http://localhost:8082".to_owned()),
                store: address(&env, "STORE"),
                customer: address(&env, "CUSTOMER"),
                marketing: address(&env, "MARKETING"),
            },
        };
        env.finish()?;
        Ok(config)
    }
}

fn address(env: &Env, name: &str) -> Option<String> {
    env.text(&format!("{name}_URL")).or_else(|| {
        let host = env.text(&format!("{name}_SERVICE_HOST"))?;
        let port = env.text(&format!("{name}_SERVICE_PORT"))?;
        Some(format!("http://{host}:{port}"))
    })
}
