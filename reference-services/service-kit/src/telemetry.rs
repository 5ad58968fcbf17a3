//! What a process tells of itself while it runs: logs on standard output (text for people, JSON lines
//! for collectors), and, where there is a collector, the spans of its traces over OTLP.

mod losses;
mod otlp;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;

use crate::env::Env;

pub(crate) use self::losses::register_losses;
pub use self::otlp::{CollectorError, Endpoint};

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// What is told, how and to whom.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    pub log: LogFormat,
    /// Directives in the syntax of `RUST_LOG`.
    pub filter: String,
    /// Where spans are told; `None` is nobody.
    pub collector: Option<Endpoint>,
}

impl TelemetryConfig {
    /// Reads `LOG_FORMAT` (`text` or `json`), `RUST_LOG` (default `info`), and where the collector is
    /// ([`Endpoint::from_env`]; default: there is none).
    pub fn from_env(env: &mut Env) -> Self {
        Self {
            log: env.choice(
                "LOG_FORMAT",
                LogFormat::Text,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
            filter: env.text("RUST_LOG").unwrap_or_else(|| "info".to_owned()),
            collector: Endpoint::from_env(env),
        }
    }
}

/// Telling that has begun.
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

/// Starts logging and telling spans for the whole process. Call once, from `main`, on the runtime.
pub fn start(config: &TelemetryConfig) -> Result<Telemetry, CollectorError> {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(config.filter.as_str()));
    match config.log {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    let collector = config.collector.as_ref();
    Ok(Telemetry {
        spans: collector.map(otlp::start).transpose()?,
    })
}

impl Telemetry {
    /// Tells the collector what it has not heard yet, if it listens. To be called last.
    pub async fn end(self) {
        if let Some(spans) = self.spans {
            otlp::end(spans).await;
        }
    }
}
