//! The life of a serving process: listen, be healthy, and on SIGTERM or SIGINT stop taking requests,
//! finish those in hand, and end. What it answers to clients and what to operators can be at ports of
//! their own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::env::Env;
use crate::metrics;
use crate::problem::{self, Problem};

use connections::{Patience, Protocol};

mod connections;
mod slow_body;

/// Where and how long a service serves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub address: SocketAddr,
    /// Where HTTP/2 without TLS is spoken, as gRPC needs it; `None` is nowhere.
    pub http2_address: Option<SocketAddr>,
    /// Where `/metrics`, `/livez` and `/readyz` are, and nowhere else; `None` is beside what clients
    /// ask for.
    pub admin_address: Option<SocketAddr>,
    /// Waited before listening: a program that takes long to start.
    pub boot_delay: Duration,
    /// After the signal, how long requests are still taken while `/readyz` already fails.
    pub drain_delay: Duration,
    /// How long requests in hand may take to finish once no new ones are taken.
    pub drain_limit: Duration,
    /// The largest request body, in bytes.
    pub body_limit: usize,
    /// How long the header of a request may take to arrive, counted from the connection's beginning
    /// or the end of the request before. So it also ends a connection that lies idle: whoever keeps
    /// connections to this service must let go of them earlier.
    pub header_timeout: Duration,
    /// How long the body of a request may take to arrive, and how long a client may stand still while
    /// it is sent an answer.
    pub body_timeout: Duration,
}

impl ServerConfig {
    /// Reads `BIND_ADDR` (default `0.0.0.0`), `PORT`, `HTTP2_PORT` (default: none), `ADMIN_PORT`
    /// (default: none, so that `PORT` has what is for operators, too), `BOOT_DELAY` (default 0),
    /// `DRAIN_DELAY` (default 0), `DRAIN_LIMIT` (default 20 s), `BODY_LIMIT` (default 16 KiB),
    /// `HEADER_TIMEOUT` (default 30 s) and `BODY_TIMEOUT` (default 10 s).
    pub fn from_env(env: &mut Env, default_port: u16) -> Self {
        let host = env.parse("BIND_ADDR", IpAddr::from([0, 0, 0, 0]));
        let at = |port| SocketAddr::new(host, port);
        Self {
            address: at(env.parse("PORT", default_port)),
            http2_address: env.parse_optional("HTTP2_PORT").map(at),
            admin_address: env.parse_optional("ADMIN_PORT").map(at),
            boot_delay: env.duration("BOOT_DELAY", Duration::ZERO),
            drain_delay: env.duration("DRAIN_DELAY", Duration::ZERO),
            drain_limit: env.duration("DRAIN_LIMIT", Duration::from_secs(20)),
            body_limit: env.parse("BODY_LIMIT", 16 * 1024),
            header_timeout: env.duration("HEADER_TIMEOUT", Duration::from_secs(30)),
            body_timeout: env.duration("BODY_TIMEOUT", Duration::from_secs(10)),
        }
    }
}

/// Why a service could not start, or did not end properly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot install the signal handlers")]
    Signals(#[source] io::Error),
    #[error("cannot tell where it listens")]
    Address(#[source] io::Error),
    #[error("requests were still in hand after the drain limit of {0:?}")]
    DrainLimit(Duration),
}

/// What a service answers.
#[derive(Debug)]
pub struct Routers {
    /// To its clients.
    pub api: Router,
    /// To its operators.
    pub admin: Router,
}

impl Routers {
    /// Everything at one port.
    pub fn on_one_port(self) -> Router {
        self.api.merge(self.admin)
    }
}

/// Puts around `api` what all services have in common: a limit to the size and the time of a body, an
/// answer to what is not served, and measurements of every request, which operators are shown beside
/// what else was registered.
pub fn routers(config: &ServerConfig, api: Router, mut registry: Registry) -> Routers {
    // Fallbacks first: one that is set later takes the place of the one that has the layers around it.
    let api = api
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(config.body_limit))
        .layer(middleware::from_fn_with_state(
            config.body_timeout,
            slow_body::refuse,
        ));
    Routers {
        api: metrics::measured(api, &mut registry),
        admin: metrics::shown(registry),
    }
}

/// Serves `routers`, with `/livez` and `/readyz` for operators, until a signal says to stop. Work
/// spawned on `work` is finished like a request.
pub async fn serve(
    config: &ServerConfig,
    routers: Routers,
    work: TaskTracker,
) -> Result<(), ServeError> {
    let mut signals = Signals::install()?;
    tracing::debug!(boot_delay = ?config.boot_delay, "starting");
    tokio::select! {
        () = tokio::time::sleep(config.boot_delay) => {}
        name = signals.next() => {
            tracing::info!(signal = name, "stopped while starting");
            return Ok(());
        }
    }
    let readiness = Readiness::default();
    let stop_accepting = CancellationToken::new();
    let admin = with_health(routers.admin, &readiness);
    let routers = Routers { admin, ..routers };
    open(config, routers, &work, &stop_accepting).await?;

    let name = signals.next().await;
    readiness.draining.store(true, Ordering::Relaxed);
    tracing::info!(signal = name, "draining");
    tokio::time::sleep(config.drain_delay).await;
    stop_accepting.cancel();
    work.close();
    tokio::time::timeout(config.drain_limit, work.wait())
        .await
        .map_err(|_elapsed| ServeError::DrainLimit(config.drain_limit))?;
    tracing::info!("drained");
    Ok(())
}

/// Listens at every port, and only then serves at any of them, on `work` and until `stop`.
async fn open(
    config: &ServerConfig,
    routers: Routers,
    work: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    let listener = listen(config.address).await?;
    let http2_listener = listen_if_asked(config.http2_address).await?;
    let admin_listener = listen_if_asked(config.admin_address).await?;

    let patience = Patience {
        header: config.header_timeout,
        standstill: config.body_timeout,
    };
    let serve_on = |listener: TcpListener, protocol, router| {
        let address = listener.local_addr().map_err(ServeError::Address)?;
        let stop = stop.clone();
        work.spawn(connections::serve(
            listener, protocol, router, patience, stop,
        ));
        Ok(address)
    };
    let api = match admin_listener {
        None => routers.on_one_port(),
        Some(listener) => {
            let admin = routers.admin.fallback(problem::not_found);
            let admin_address = serve_on(listener, Protocol::Http1, admin)?;
            tracing::info!(%admin_address, "listening");
            routers.api
        }
    };
    let address = serve_on(listener, Protocol::Http1, api.clone())?;
    tracing::info!(%address, "listening");
    if let Some(listener) = http2_listener {
        let http2_address = serve_on(listener, Protocol::Http2, api)?;
        tracing::info!(%http2_address, "listening");
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

async fn listen_if_asked(address: Option<SocketAddr>) -> Result<Option<TcpListener>, ServeError> {
    match address {
        Some(address) => listen(address).await.map(Some),
        None => Ok(None),
    }
}

fn with_health(admin: Router, readiness: &Readiness) -> Router {
    let health = Router::new()
        .route("/livez", get(|| async { "alive" }))
        .route("/readyz", get(readyz))
        .with_state(readiness.clone());
    admin
        .merge(health)
        .method_not_allowed_fallback(problem::method_not_allowed)
}

/// Ready from the first request on, and not any more once the end has begun. It asks nothing of
/// databases or other services: if a shared one fails, taking every replica away helps nobody.
#[derive(Clone, Debug, Default)]
struct Readiness {
    draining: Arc<AtomicBool>,
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    if readiness.draining.load(Ordering::Relaxed) {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining").into_response()
    } else {
        "ready".into_response()
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> Result<Self, ServeError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(ServeError::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(ServeError::Signals)?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
