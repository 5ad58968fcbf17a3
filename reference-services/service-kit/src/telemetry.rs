//! Logs on standard output: text for people, JSON lines for collectors.

use tracing_subscriber::EnvFilter;

use crate::env::Env;

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub format: LogFormat,
    /// Directives in the syntax of `RUST_LOG`.
    pub filter: String,
}

impl LogConfig {
    /// Reads `LOG_FORMAT` (`text` or `json`) and `RUST_LOG` (default `info`).
    pub fn from_env(env: &mut Env) -> Self {
        Self {
            format: env.choice(
                "LOG_FORMAT",
                LogFormat::Text,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
            filter: env.text("RUST_LOG").unwrap_or_else(|| "info".to_owned()),
        }
    }
}

/// Starts logging for the whole process. Call once, from `main`.
pub fn init(config: &LogConfig) {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(config.filter.as_str()));
    match config.format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
