//! The settings of app, from the environment.

use std::time::Duration;

use reqwest::Url;
use service_kit::database::DatabaseConfig;
use service_kit::env::{Env, EnvError};
use service_kit::events::kafka::KafkaConfig;
use service_kit::inbox::InboxConfig;
use service_kit::resilience::{CommandSettings, EndpointSettings};
use service_kit::server::ServerConfig;
use service_kit::telemetry::TelemetryConfig;

use crate::adapters::costs::Costs;
use crate::adapters::pay::PayConfig;
use crate::adapters::retries::PayRetrySettings;

/// Everything app can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    pub database: DatabaseConfig,
    pub costs: Costs,
    pub pay: PayConfig,
    /// `None` is no bus.
    pub kafka: Option<KafkaConfig>,
    pub inbox: InboxConfig,
    /// How long an order may wait for its payment before it is abandoned.
    pub intent_limit: Duration,
    /// The series of the costs' random draws; `None` is another one on each start.
    pub seed: Option<u64>,
}

impl Config {
    /// Reads, besides what every service reads: `PAY_URL`, else `PAY_SERVICE_HOST` and
    /// `PAY_SERVICE_PORT` (which Kubernetes sets), else `http://localhost:8082`; `PAY_CALL_LIMIT`
    /// (default 30 s); `PAY_CONNECTIONS` (`keep_alive`, the default, or `per_request`); `PAY_*` of
    /// [`CommandSettings::from_env`], [`EndpointSettings::from_env`] and
    /// [`PayRetrySettings::from_env`]; `ORDER_RECEIVE_COST`, `ORDER_INSERT_COST`, `ORDER_COMMIT_COST`,
    /// `ORDER_ROLLBACK_COST` (default 0); `RNG_SEED`; and `ORDER_INTENT_LIMIT` (default 1 m): longer
    /// than any payment takes, its retries included, because an order that is still waiting for its
    /// payment then is given up.
    pub fn from_env(mut env: Env) -> Result<Self, EnvError> {
        let cost = |env: &mut Env, name| env.duration(name, Duration::ZERO);
        let config = Self {
            server: ServerConfig::from_env(&mut env, 8081),
            telemetry: TelemetryConfig::from_env(&mut env),
            database: DatabaseConfig::from_env(&mut env, "app"),
            costs: Costs {
                receive: cost(&mut env, "ORDER_RECEIVE_COST"),
                insert: cost(&mut env, "ORDER_INSERT_COST"),
                commit: cost(&mut env, "ORDER_COMMIT_COST"),
                rollback: cost(&mut env, "ORDER_ROLLBACK_COST"),
            },
            pay: pay(&mut env),
            kafka: KafkaConfig::from_env(&mut env),
            inbox: InboxConfig::from_env(&mut env),
            intent_limit: env.duration("ORDER_INTENT_LIMIT", Duration::from_secs(60)),
            seed: env.parse_optional("RNG_SEED"),
        };
        env.finish()?;
        Ok(config)
    }
}

fn pay(env: &mut Env) -> PayConfig {
    let url = pay_url(env);
    PayConfig {
        call_limit: env.duration("PAY_CALL_LIMIT", Duration::from_secs(30)),
        command: CommandSettings::from_env(env, "PAY"),
        endpoints: EndpointSettings::from_env(env, "PAY", &host_and_port(&url)),
        retries: PayRetrySettings::from_env(env),
        keeps_connections: env.choice(
            "PAY_CONNECTIONS",
            true,
            &[("keep_alive", true), ("per_request", false)],
        ),
        url,
    }
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().expect("an HTTP URL has a host");
    let port = url.port_or_known_default().expect("HTTP has a port");
    format!("{host}:{port}")
}

fn pay_url(env: &mut Env) -> Url {
    let home = || Url::parse("http://localhost:8082").expect("the default is a URL");
    let of_service = || {
        let host = env.text("PAY_SERVICE_HOST")?;
        let port = env.text("PAY_SERVICE_PORT")?;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        Some(("PAY_SERVICE_HOST", format!("http://{host}:{port}")))
    };
    let of_url = env.text("PAY_URL").map(|url| ("PAY_URL", url));
    let Some((name, text)) = of_url.or_else(of_service) else {
        return home();
    };
    http_url(&text).unwrap_or_else(|| {
        env.complain(format!("{name}: expected http://host:port, not {text:?}"));
        home()
    })
}

/// A URL of nothing but a host and a port, which is called without TLS.
fn http_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let origin = url.origin().ascii_serialization();
    let is_plain = url.scheme() == "http" && url.as_str() == format!("{origin}/");
    is_plain.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::retries::RetryOn;

    #[test]
    fn pay_is_found_by_url_then_by_service_then_at_home() {
        let service = [
            ("PAY_SERVICE_HOST", "10.0.0.7"),
            ("PAY_SERVICE_PORT", "8082"),
        ];
        let [host, port] = service;
        for (env, expected) in [
            (
                Env::of_pairs([("PAY_URL", "http://pay"), host, port]),
                "http://pay/",
            ),
            (Env::of_pairs(service), "http://10.0.0.7:8082/"),
            (
                Env::of_pairs([("PAY_SERVICE_HOST", "fd00::1"), port]),
                "http://[fd00::1]:8082/",
            ),
            (Env::of_pairs([host]), "http://localhost:8082/"),
        ] {
            assert_eq!(Config::from_env(env).unwrap().pay.url.as_str(), expected);
        }
    }

    #[test]
    fn a_pay_that_cannot_be_called_is_refused() {
        for url in [
            "pay:8082",
            "https://pay",
            "unix:/run/pay",
            "http://pay:99999",
            "http://pay/payments",
            "http://pay?a",
            "http://me@pay",
        ] {
            let refused = Config::from_env(Env::of_pairs([("PAY_URL", url)]));
            assert_eq!(
                refused.unwrap_err().to_string(),
                format!("invalid settings: PAY_URL: expected http://host:port, not {url:?}")
            );
        }
    }

    #[test]
    fn the_endpoints_of_pay_are_those_of_its_url_unless_named() {
        let scope = ("PAY_SCOPE", "endpoint");
        for (more, expected) in [
            (("PAY_URL", "http://pay"), "pay:80"),
            (("PAY_URL", "http://[::1]:8082/"), "[::1]:8082"),
            (("PAY_ENDPOINTS", "pay-pods:8082"), "pay-pods:8082"),
        ] {
            let config = Config::from_env(Env::of_pairs([scope, more])).unwrap();
            assert_eq!(config.pay.endpoints.unwrap().names, [expected]);
        }
    }

    #[test]
    fn payments_are_repeated_only_where_asked_for() {
        let retries = |pairs: &[(&'static str, &'static str)]| {
            let config = Config::from_env(Env::of_pairs(pairs.iter().copied()));
            config
                .map(|it| it.pay.retries)
                .map_err(|error| error.to_string())
        };
        assert_eq!(retries(&[]).unwrap().retries.limit, 0);
        let some = retries(&[
            ("PAY_RETRY_ATTEMPTS", "2"),
            ("PAY_RETRY_ON", "rejected, timeout"),
        ]);
        let some = some.unwrap();
        assert_eq!(some.retries.limit, 2);
        assert_eq!(some.on, [RetryOn::Rejected, RetryOn::Timeout]);
        let message = retries(&[("PAY_RETRY_ON", "short_circuited")]).unwrap_err();
        assert!(
            message.contains("timeout, rejected, failure, refused"),
            "{message}"
        );
    }
}
