//! The settings of the gateway, from the environment.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::{Authority, Scheme};
use service_kit::env::{Env, EnvError};
use service_kit::resilience::RetrySettings;
use service_kit::server::ServerConfig;
use service_kit::telemetry::TelemetryConfig;

use crate::adapters::upstreams::UpstreamSettings;
use crate::clients::Clients;
use crate::domain::Upstream;
use crate::limits::RateSettings;
use crate::tokens::{SigningKey, TokenSettings};

/// Where operators are answered unless `ADMIN_PORT` says so. The other services answer them at the
/// port of clients; the gateway's clients are strangers.
const ADMIN_PORT: u16 = 9080;

/// Everything the gateway can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    pub upstreams: UpstreamSettings,
    /// `None` lets everybody in.
    pub auth: Option<AuthSettings>,
    /// `None` is no limit.
    pub rate: Option<RateSettings>,
    /// How many requests may be in hand at once, for each upstream.
    pub in_flight_limit: usize,
    pub retries: RetrySettings,
}

/// Who is let in.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    pub clients: Clients,
    pub tokens: TokenSettings,
    pub key_source: KeySource,
}

/// Where the key that signs tokens comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    Environment,
    /// Drawn by this process: no other replica accepts its tokens, nor does it after a restart.
    Generated,
}

impl Config {
    /// Reads, besides what every service reads:
    /// - where operators are answered: `ADMIN_PORT` (9080), never at the port of clients;
    /// - where the upstreams are: for each `APP_URL`, else `APP_SERVICE_HOST` and `APP_SERVICE_PORT`
    ///   (which Kubernetes sets), else `http://localhost:8081`, and so on for `PAY`, `STORE`,
    ///   `CUSTOMER` and `MARKETING`; `UPSTREAM_TIMEOUT` (10 s, for each try) and
    ///   `UPSTREAM_CONNECT_TIMEOUT` (1 s);
    /// - who is let in: `GATEWAY_AUTH` (`on` or `off`), `OAUTH_CLIENTS` (see [`Clients::parse`]) or
    ///   `OAUTH_CLIENTS_FILE`, `JWT_KEY` (at least 32 characters; else one is generated), `JWT_ISSUER`
    ///   (`gateway`), `JWT_AUDIENCE` (`food-delivery`) and `JWT_LIFETIME` (60 m);
    /// - how much: `RATE_LIMIT` (200 requests a second for each client; 0 = no limit), `RATE_BURST`
    ///   (twice that), `RATE_CLIENTS` (how many are remembered: 10 000) and `IN_FLIGHT_LIMIT` (256 for
    ///   each upstream);
    /// - what is sent again: `RETRY_LIMIT` (2) and `RETRY_*` of [`RetrySettings::from_env`].
    pub fn from_env(mut env: Env) -> Result<Self, EnvError> {
        let mut server = ServerConfig::from_env(&mut env, 8080);
        let admin_address = SocketAddr::new(server.address.ip(), ADMIN_PORT);
        server.admin_address.get_or_insert(admin_address);
        let config = Self {
            server,
            telemetry: TelemetryConfig::from_env(&mut env),
            upstreams: UpstreamSettings {
                addresses: Upstream::ALL.map(|upstream| address(&mut env, upstream)),
                connect_timeout: env.duration("UPSTREAM_CONNECT_TIMEOUT", Duration::from_secs(1)),
                timeout: env.duration("UPSTREAM_TIMEOUT", Duration::from_secs(10)),
            },
            auth: auth(&mut env),
            rate: rate(&mut env),
            in_flight_limit: env.parse("IN_FLIGHT_LIMIT", 256_u32) as usize,
            retries: retries(&mut env),
        };
        env.finish()?;
        Ok(config)
    }
}

fn retries(env: &mut Env) -> RetrySettings {
    let limit = env.parse("RETRY_LIMIT", 2);
    RetrySettings::from_env(env, "RETRY", limit)
}

fn address(env: &mut Env, upstream: Upstream) -> Authority {
    let home = Authority::try_from(format!("localhost:{}", upstream.home_port()))
        .expect("a name and a port are an authority");
    let prefix = upstream.name().to_uppercase();
    let name = format!("{prefix}_URL");
    if let Some(url) = env.text(&name) {
        return authority(&url).unwrap_or_else(|| {
            env.complain(format!("{name}={url:?}: expected http://host:port"));
            home
        });
    }
    let of_service = || {
        let host = env.text(&format!("{prefix}_SERVICE_HOST"))?;
        let port = env.text(&format!("{prefix}_SERVICE_PORT"))?;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        Authority::try_from(format!("{host}:{port}")).ok()
    };
    of_service().unwrap_or(home)
}

fn authority(url: &str) -> Option<Authority> {
    let uri: Uri = url.parse().ok()?;
    let is_plain = uri.scheme() == Some(&Scheme::HTTP) && matches!(uri.path(), "" | "/");
    let is_plain = is_plain && uri.query().is_none();
    uri.into_parts().authority.filter(|_| is_plain)
}

fn auth(env: &mut Env) -> Option<AuthSettings> {
    let enabled = env.choice("GATEWAY_AUTH", true, &[("on", true), ("off", false)]);
    let (key, key_source) = match env.text("JWT_KEY") {
        None => (SigningKey::generate(), KeySource::Generated),
        Some(text) => {
            let key = SigningKey::new(text.into_bytes()).unwrap_or_else(|| {
                let least = SigningKey::MIN_LENGTH;
                env.complain(format!("JWT_KEY: must have at least {least} characters"));
                SigningKey::generate()
            });
            (key, KeySource::Environment)
        }
    };
    let settings = AuthSettings {
        clients: clients(env),
        tokens: TokenSettings {
            key,
            issuer: text_or(env, "JWT_ISSUER", "gateway"),
            audience: text_or(env, "JWT_AUDIENCE", "food-delivery"),
            lifetime: env.duration("JWT_LIFETIME", Duration::from_secs(3600)),
        },
        key_source,
    };
    enabled.then_some(settings)
}

fn clients(env: &mut Env) -> Clients {
    let (name, json) = match (env.text("OAUTH_CLIENTS"), env.text("OAUTH_CLIENTS_FILE")) {
        (Some(json), _) => ("OAUTH_CLIENTS", Ok(json)),
        (None, Some(file)) => ("OAUTH_CLIENTS_FILE", std::fs::read_to_string(file)),
        (None, None) => return Clients::default(),
    };
    let clients = json
        .map_err(|error| error.to_string())
        .and_then(|json| Clients::parse(&json).map_err(|error| error.to_string()));
    clients.unwrap_or_else(|problem| {
        // What it says is not repeated: there may be a secret in it.
        env.complain(format!("{name}: {problem}"));
        Clients::default()
    })
}

fn text_or(env: &Env, name: &str, default: &str) -> String {
    env.text(name).unwrap_or_else(|| default.to_owned())
}

fn rate(env: &mut Env) -> Option<RateSettings> {
    let per_second = NonZeroU32::new(env.parse("RATE_LIMIT", 200))?;
    let twice = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1));
    Some(RateSettings {
        per_second,
        burst: env.parse("RATE_BURST", twice),
        clients: env.parse("RATE_CLIENTS", NonZeroUsize::MIN.saturating_add(9_999)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Config, String> {
        Config::from_env(Env::of_pairs(pairs)).map_err(|error| error.to_string())
    }

    #[test]
    fn upstreams_are_found_by_url_then_by_service_then_at_home() {
        let config = read([
            ("APP_URL", "http://app.example:80/"),
            ("APP_SERVICE_HOST", "10.0.0.6"),
            ("APP_SERVICE_PORT", "8081"),
            ("PAY_SERVICE_HOST", "10.0.0.7"),
            ("PAY_SERVICE_PORT", "8082"),
            ("STORE_SERVICE_HOST", "fd00::1"),
            ("STORE_SERVICE_PORT", "8083"),
            ("CUSTOMER_SERVICE_HOST", "10.0.0.8"),
        ]);
        assert_eq!(
            config.unwrap().upstreams.addresses.map(|it| it.to_string()),
            [
                "app.example:80",
                "10.0.0.7:8082",
                "[fd00::1]:8083",
                "localhost:8084",
                "localhost:8085"
            ]
        );
    }

    #[test]
    fn what_cannot_be_used_is_named_and_secrets_are_not() {
        let refused = read([
            ("APP_URL", "https://app"),
            ("PAY_URL", "http://pay/payments"),
            ("JWT_KEY", "hunter2"),
            ("OAUTH_CLIENTS", r#"[{"id": "web", "secret": "hunter2"}]"#),
            ("GATEWAY_AUTH", "perhaps"),
            ("RATE_BURST", "0"),
        ]);
        let message = refused.unwrap_err();
        for name in [
            "APP_URL",
            "PAY_URL",
            "JWT_KEY",
            "OAUTH_CLIENTS",
            "GATEWAY_AUTH",
            "RATE_BURST",
        ] {
            assert!(message.contains(name), "{message}");
        }
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn what_is_for_operators_is_never_at_the_port_of_clients() {
        for (settings, port) in [(vec![], 9080), (vec![("ADMIN_PORT", "9081")], 9081)] {
            let config = read(settings.into_iter().chain([("BIND_ADDR", "::1")]));
            let server = config.unwrap().server;
            let admin_address = server.admin_address.unwrap();
            assert_eq!(admin_address, SocketAddr::new(server.address.ip(), port));
        }
    }

    #[test]
    fn doors_can_be_opened() {
        let config = read([("GATEWAY_AUTH", "off"), ("RATE_LIMIT", "0")]).unwrap();
        assert!(config.auth.is_none());
        assert!(config.rate.is_none());
        let config = read([]).unwrap();
        assert_eq!(config.auth.unwrap().key_source, KeySource::Generated);
        assert_eq!(config.rate.unwrap().burst.get(), 400);
    }
}
