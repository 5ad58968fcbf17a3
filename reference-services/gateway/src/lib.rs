//! gateway is the one entry to the food delivery: it lets in who may come in, as many as can be served,
//! and brings each request to the service it is for.

pub mod adapters;
pub mod admission;
pub mod authority;
pub mod clients;
pub mod config;
pub mod domain;
pub mod limits;
pub mod measurements;
pub mod ports;
pub mod retries;
pub mod service;
pub mod tokens;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service_kit::server::{self, Routers};

use crate::adapters::upstreams::HttpUpstreams;
use crate::adapters::{correlation, http};
use crate::admission::Admission;
use crate::authority::Authority;
use crate::config::{AuthSettings, Config, KeySource};
use crate::limits::Limiter;
use crate::measurements::Measurements;
use crate::retries::UpstreamRetries;
use crate::service::Gateway;
use crate::tokens::Tokens;

/// Puts the gateway together, ready to be served. Must be called inside a tokio runtime.
pub fn build(config: &Config) -> Routers {
    let mut registry = Registry::default();
    let measurements = Measurements::register(&mut registry);
    let gateway = Gateway {
        authority: authority(config.auth.clone()),
        limiter: config.rate.map(Limiter::new),
        admission: Admission::new(config.in_flight_limit, &measurements),
        retries: UpstreamRetries::new(config.retries),
        upstreams: Arc::new(HttpUpstreams::new(config.upstreams.clone())),
        measurements,
    };
    let routers = server::routers(&config.server, http::router(gateway), registry);
    // Around everything that is answered to a client, also to one who asks for what is not there.
    let api = correlation::correlated(routers.api);
    Routers { api, ..routers }
}

fn authority(settings: Option<AuthSettings>) -> Option<Authority> {
    let Some(settings) = settings else {
        tracing::warn!("GATEWAY_AUTH=off: everybody is let in");
        return None;
    };
    if settings.key_source == KeySource::Generated {
        tracing::warn!(
            "JWT_KEY is not set: tokens are signed with a key that is gone with this process"
        );
    }
    if settings.clients.is_empty() {
        tracing::warn!("OAUTH_CLIENTS is not set: nobody can get a token");
    }
    Some(Authority::new(
        settings.clients,
        Tokens::new(settings.tokens),
    ))
}
