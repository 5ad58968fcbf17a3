//! A service called at each of its endpoints, with a circuit and a bulkhead for each, as Envoy does:
//! an endpoint that fails is left out while the others serve.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock, Weak};
use std::time::Duration;

use super::command::{CallError, Command, CommandSettings};
use super::fleet::Fleet;
use super::measurements::CommandMetrics;
use crate::env::Env;

/// How often the names are looked up.
const REFRESH: Duration = Duration::from_secs(1);

/// Where the endpoints are, and what happens when they fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    /// `host:port` each; a name stands for all its addresses.
    pub names: Vec<String>,
    /// At most this share of the endpoints is left out at once.
    pub max_out_percent: usize,
    pub all_out: AllOut,
}

/// What becomes of a call when every endpoint is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllOut {
    /// It is short-circuited.
    Fail,
    /// It is made all the same.
    Ignore,
}

impl EndpointSettings {
    /// Reads, for the prefix `PAY`: `PAY_SCOPE` (`service`, which gives `None`, or `endpoint`), and if
    /// it is `endpoint`: `PAY_ENDPOINTS` (`host:port`, several with commas between; default: `home`),
    /// `PAY_MAX_OUT_PERCENT` (1 to 100; 100, Envoy's own is 10) and `PAY_ALL_OUT` (`fail` or `ignore`).
    pub fn from_env(env: &mut Env, prefix: &str, home: &str) -> Option<Self> {
        let name = |suffix: &str| format!("{prefix}_{suffix}");
        let scopes = [("service", false), ("endpoint", true)];
        if !env.choice(&name("SCOPE"), false, &scopes) {
            for without_effect in ["ENDPOINTS", "MAX_OUT_PERCENT", "ALL_OUT"].map(name) {
                if env.text(&without_effect).is_some() {
                    env.complain(format!(
                        "{without_effect}: has no effect unless {}=endpoint",
                        name("SCOPE")
                    ));
                }
            }
            return None;
        }
        let listed = env.text(&name("ENDPOINTS"));
        let listed = listed.unwrap_or_else(|| home.to_owned());
        let names: Vec<_> = listed.split(',').map(|it| it.trim().to_owned()).collect();
        for wrong in names.iter().filter(|it| !is_host_and_port(it)) {
            env.complain(format!("{}: {wrong:?} is not host:port", name("ENDPOINTS")));
        }
        Some(Self {
            names,
            max_out_percent: env.within(&name("MAX_OUT_PERCENT"), 100, 1..=100),
            all_out: env.choice(
                &name("ALL_OUT"),
                AllOut::Fail,
                &[("fail", AllOut::Fail), ("ignore", AllOut::Ignore)],
            ),
        })
    }
}

fn is_host_and_port(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// The endpoints of one service. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct Endpoints(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    service: String,
    settings: EndpointSettings,
    command: CommandSettings,
    metrics: CommandMetrics,
    fleet: Arc<Fleet>,
    known: RwLock<Vec<Endpoint>>,
    turn: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Endpoint {
    address: SocketAddr,
    command: Command,
    /// Still an address of a name, and one of the fleet. Others are kept while they have calls under
    /// way, so that they are the same if they come back.
    is_listed: bool,
}

/// The endpoint one call goes to.
#[derive(Debug)]
pub struct Chosen {
    pub address: SocketAddr,
    command: Command,
    is_left_out: bool,
}

impl Endpoints {
    /// The endpoints of the service called `service`, looked up once and then again and again. Must
    /// be called inside a tokio runtime, where a task looks them up for as long as they exist.
    pub async fn start(
        service: &str,
        settings: EndpointSettings,
        command: CommandSettings,
        metrics: CommandMetrics,
    ) -> Self {
        let shared = Arc::new(Shared {
            service: service.to_owned(),
            fleet: Arc::new(Fleet::new(settings.max_out_percent)),
            settings,
            command,
            metrics,
            known: RwLock::default(),
            turn: AtomicUsize::new(0),
        });
        shared.look_up().await;
        tokio::spawn(refresh_while_used(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// The next endpoint in turn that takes a call: rather one with a place in its bulkhead, and
    /// rather another than `avoid`. When all are left out, that is one whose circuit refuses the call,
    /// the first to come back, unless [`AllOut::Ignore`] says to make it all the same. `None` when the
    /// names have no address.
    pub fn choose(&self, avoid: Option<SocketAddr>) -> Option<Chosen> {
        let known = self.0.known.read().expect("no reader or writer panics");
        let mut listed: Vec<_> = known.iter().filter(|it| it.is_listed).collect();
        let turns = listed.len().max(1);
        listed.rotate_left(self.0.turn.fetch_add(1, Ordering::Relaxed) % turns);
        let ranked = listed.iter().map(|endpoint| {
            let left_out_for = endpoint.command.check().err().map(|it| it.retry_after);
            let is_full = !endpoint.command.has_place();
            let is_avoided = avoid == Some(endpoint.address);
            ((left_out_for, is_full, is_avoided), endpoint)
        });
        let ((left_out_for, ..), best) = ranked.min_by_key(|(rank, _)| *rank)?;
        match (left_out_for, self.0.settings.all_out) {
            (None, _) | (Some(_), AllOut::Fail) => Some(best.chosen(false)),
            (Some(_), AllOut::Ignore) => Some(listed[0].chosen(true)),
        }
    }
}

impl Endpoint {
    fn chosen(&self, is_left_out: bool) -> Chosen {
        Chosen {
            address: self.address,
            command: self.command.clone(),
            is_left_out,
        }
    }
}

impl Chosen {
    /// [`Command::run`] at this endpoint. The breaker is not asked where all endpoints are left out
    /// and that is to be ignored.
    pub async fn run<T, E, F>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        if self.is_left_out {
            self.command.run_regardless(call).await
        } else {
            self.command.run(call).await
        }
    }
}

async fn refresh_while_used(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.look_up().await;
    }
}

impl Shared {
    /// Asks for the addresses of all names. If a name has none that can be found, all stays as it is:
    /// an old address may still serve.
    async fn look_up(&self) {
        let mut found = Vec::new();
        for name in &self.settings.names {
            match tokio::net::lookup_host(name).await {
                Ok(addresses) => found.extend(addresses),
                Err(error) => {
                    tracing::warn!(name, %error, "looking up the endpoints of {}", self.service);
                    return;
                }
            }
        }
        self.list(&found);
    }

    fn list(&self, found: &[SocketAddr]) {
        let mut known = self.known.write().expect("no reader or writer panics");
        for endpoint in known.iter_mut() {
            endpoint.is_listed = found.contains(&endpoint.address);
            if !endpoint.is_listed {
                endpoint.command.leave();
            }
        }
        known.retain(|endpoint| endpoint.is_listed || !endpoint.command.is_idle());
        for &address in found {
            if known.iter().all(|endpoint| endpoint.address != address) {
                let measurements = self.metrics.of(format!("{}@{address}", self.service));
                known.push(Endpoint {
                    address,
                    command: Command::start(self.command.clone(), measurements),
                    is_listed: true,
                });
            }
        }
        let listed = || known.iter().filter(|endpoint| endpoint.is_listed);
        self.fleet.set_endpoints(listed().count());
        for endpoint in listed() {
            endpoint.command.join(&self.fleet);
        }
    }
}

#[cfg(test)]
mod tests;
