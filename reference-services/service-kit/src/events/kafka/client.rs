//! What all Kafka clients of a service have in common.

// The C library: without a word of it here it would not be linked.
use librdkafka as _;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaConfig;

/// How they find the cluster, and find it again soon after it was away.
pub(super) fn settings(config: &KafkaConfig) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set_log_level(RDKafkaLogLevel::Info);
    settings
        .set("bootstrap.servers", &config.brokers)
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        // A broker that does not answer for this long is connected to anew.
        .set("socket.timeout.ms", "10000")
        .set("socket.keepalive.enable", "true")
        // How soon a topic is noticed that was not there, or not in this form.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("socket.nagle.disable", "true");
    settings
}

/// Writes what the library has to say into the service's own log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // One address of a broker that did not answer; when none does, that is an error, too.
            _ if facility == "FAIL" => tracing::debug!(message, "librdkafka"),
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, message, "librdkafka");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => {
                tracing::debug!(reason, "librdkafka");
            }
            _ => tracing::warn!(%error, reason, "librdkafka"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the platforms that `.cargo/config.toml` names. Whatever rdkafka-sys would build by itself has
    /// plugins.
    #[test]
    #[cfg(all(
        any(target_arch = "x86_64", target_arch = "aarch64"),
        any(all(target_os = "linux", target_env = "gnu"), target_os = "macos"),
    ))]
    fn the_library_is_the_one_that_needs_only_a_c_compiler() {
        let settings = ClientConfig::new().create_native_config().unwrap();
        let features = settings.get("builtin.features").unwrap();
        let features: Vec<&str> = features.trim_matches('\0').split(',').collect();
        assert!(features.contains(&"lz4"), "{features:?}");
        assert!(
            !features.contains(&"plugins"),
            ".cargo/config.toml is not in force: {features:?}"
        );
    }
}
