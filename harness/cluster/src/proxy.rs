//! Plays kube-proxy: a TCP listener for each service port, and a backend for each new connection.
//!
//! A listener exists only while its service has somewhere to send to, so that without endpoints a
//! connection is refused at once, as on a real cluster. Established connections outlive every
//! change. It learns of changes as late as the real thing does: a watch takes a moment, and syncs
//! keep a distance from each other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::resource::{Resource as Limit, getrlimit, setrlimit};
use rand::seq::IndexedRandom as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::{Recorder, Severity};
use crate::store::{Resource, Store};

mod news;
mod ports;
mod relay;
mod routes;

use news::News;
pub(crate) use ports::{OwnListeners, PortError, check_listenable, check_publishable, services};
pub use routes::Backend;
use routes::{Route, routes};

/// How long after a sync the next one takes place at the earliest: kube-proxy's `minSyncPeriod`, which
/// has had no burst since Kubernetes 1.36.
const MIN_SYNC_PERIOD: Duration = Duration::from_secs(1);

/// How long to wait after an accept failed for want of resources.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How the proxy behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxyOptions {
    /// How long news takes from the API to the proxy.
    pub(crate) watch_latency: Duration,
    /// Listen on 127.0.0.1 too, at each service's own port.
    pub(crate) publish_services: bool,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            watch_latency: Duration::from_millis(20),
            publish_services: false,
        }
    }
}

/// Where connections to Services go at this moment, as the proxy knows it: for clients which dial
/// pods themselves, without the hop through the proxy. Clones follow the same proxy.
#[derive(Clone, Debug)]
pub struct ServiceRoutes(watch::Receiver<BTreeMap<SocketAddr, Vec<Backend>>>);

impl ServiceRoutes {
    /// To where kube-proxy would translate the address of a new connection: a random endpoint of
    /// the Service at `address`, or `address` itself if no Service is there. `None` means that the
    /// Service has no endpoint, and the connection is refused.
    pub fn endpoint(&self, address: SocketAddr) -> Option<Backend> {
        match self.0.borrow().get(&address) {
            Some(backends) => backends.choose(&mut rand::rng()).cloned(),
            None => Some(Backend { address, pod: None }),
        }
    }

    /// The endpoints of every Service at this moment, by the Service's addresses.
    pub fn all(&self) -> BTreeMap<SocketAddr, Vec<Backend>> {
        self.0.borrow().clone()
    }

    /// Waits until they may have changed since this was last called; `false` when the proxy has
    /// ended, and they will not change any more.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// The running proxy.
#[derive(Debug)]
pub(crate) struct ProxyHandle {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    own: OwnListeners,
    routes: ServiceRoutes,
}

impl ProxyHandle {
    /// Where it sends new connections.
    pub(crate) fn routes(&self) -> ServiceRoutes {
        self.routes.clone()
    }

    /// Where it listens.
    pub(crate) fn listeners(&self) -> OwnListeners {
        self.own.clone()
    }

    /// Closes every listener and every connection.
    pub(crate) async fn shutdown(self) {
        self.shutdown.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the proxy did not end as it should");
        }
    }
}

/// Starts to serve the services of the store.
pub(crate) fn spawn(store: Store, options: ProxyOptions) -> ProxyHandle {
    raise_descriptor_limit();
    let shutdown = CancellationToken::new();
    let (listening, own) = watch::channel(HashSet::new());
    let (routes, known_routes) = watch::channel(BTreeMap::new());
    let proxy = Proxy {
        recorder: Recorder::new(store.clone(), "kube-proxy"),
        store,
        options,
        listeners: HashMap::new(),
        listening,
        routes,
        connections: TaskTracker::new(),
        shutdown: shutdown.clone(),
    };
    let task = tokio::spawn(proxy.serve());
    ProxyHandle {
        shutdown,
        task,
        own: OwnListeners::new(own),
        routes: ServiceRoutes(known_routes),
    }
}

/// Each connection takes two descriptors, and a shell usually permits only 1024.
fn raise_descriptor_limit() {
    let raised = getrlimit(Limit::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Limit::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of open connections stays limited");
    }
}

struct Proxy {
    store: Store,
    recorder: Recorder,
    options: ProxyOptions,
    listeners: HashMap<SocketAddr, Listening>,
    /// Tells others the keys of `listeners`.
    listening: watch::Sender<HashSet<SocketAddr>>,
    /// Tells others where connections go.
    routes: watch::Sender<BTreeMap<SocketAddr, Vec<Backend>>>,
    connections: TaskTracker,
    shutdown: CancellationToken,
}

/// A listener at work.
struct Listening {
    backends: watch::Sender<Vec<Backend>>,
    task: JoinHandle<()>,
}

impl Proxy {
    async fn serve(mut self) {
        let mut news = News::follow(&self.store, self.options.watch_latency);
        let mut earliest = Instant::now();
        let mut is_complete = true;
        let shutdown = self.shutdown.clone();
        loop {
            let wanted = if is_complete {
                news.next_arrival()
            } else {
                Some(earliest)
            };
            let is_wanted = wanted.is_some();
            let due = wanted.unwrap_or(earliest).max(earliest);
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = news.happens() => {}
                () = sleep_until(due), if is_wanted => {
                    // As it was then, however late this task runs: what came after it is for the next.
                    news.take_in(due);
                    is_complete = self.sync(&news).await;
                    earliest = Instant::now() + MIN_SYNC_PERIOD;
                }
            }
        }
        for (_, listening) in self.listeners.drain() {
            close(listening).await;
        }
        self.connections.close();
        self.connections.wait().await;
    }

    /// Brings the listeners in line with what is known. Returns whether all could be opened.
    async fn sync(&mut self, news: &News) -> bool {
        let services = news.all(&Resource::Services);
        let slices = news.all(&Resource::EndpointSlices);
        let mut wanted = routes(&services, &slices, self.options.publish_services);
        let backends = wanted
            .iter()
            .map(|(listen, route)| (*listen, route.backends.clone()));
        self.routes.send_replace(backends.collect());
        wanted.retain(|_, route| !route.backends.is_empty());
        let gone = self
            .listeners
            .extract_if(|listen, _| !wanted.contains_key(listen));
        for (_, listening) in gone.collect::<Vec<_>>() {
            close(listening).await;
        }
        let mut complete = true;
        for (listen, route) in wanted {
            match self.listeners.get(&listen) {
                Some(listening) => drop(listening.backends.send_replace(route.backends)),
                None => complete &= self.open(listen, route).await,
            }
        }
        self.listening
            .send_replace(self.listeners.keys().copied().collect());
        complete
    }

    async fn open(&mut self, listen: SocketAddr, route: Route) -> bool {
        let listener = match TcpListener::bind(listen).await {
            Ok(listener) => listener,
            Err(error) => {
                self.tell_failure(listen, &route, &error);
                return false;
            }
        };
        let (backends, current) = watch::channel(route.backends);
        let accepting = accept(
            listener,
            current,
            self.connections.clone(),
            self.shutdown.clone(),
        );
        let task = tokio::spawn(accepting);
        self.listeners.insert(listen, Listening { backends, task });
        true
    }

    fn tell_failure(&self, listen: SocketAddr, route: &Route, error: &io::Error) {
        let message = format!(
            "cannot listen on {listen}: {error}; another process may use the port on this or on every address of this machine"
        );
        tracing::warn!(service = route.service, "{message}");
        if let Some(service) = self
            .store
            .get(Resource::Services, &route.namespace, &route.service)
        {
            self.recorder
                .record(&service, Severity::Warning, "FailedToListen", &message);
        }
    }
}

/// Closes a listener; when this returns, connections to it are refused.
async fn close(listening: Listening) {
    listening.task.abort();
    match listening.task.await {
        Ok(()) => {}
        Err(error) if error.is_cancelled() => {}
        Err(error) => tracing::error!(%error, "a proxy listener failed"),
    }
}

/// Gives each new connection to one of the backends of the moment, all equally likely.
async fn accept(
    listener: TcpListener,
    backends: watch::Receiver<Vec<Backend>>,
    connections: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        let client: TcpStream = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let backend = backends
            .borrow()
            .choose(&mut rand::rng())
            .map(|one| one.address);
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            tokio::select! {
                () = relay::relay(client, backend) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn an_endpoint_is_chosen_for_each_connection_to_a_service() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let backend = |text: &str, pod: Option<&str>| Backend {
            address: at(text),
            pod: pod.map(Arc::from),
        };
        let endpoints = vec![
            backend("127.9.128.1:80", Some("app-1")),
            backend("127.9.128.2:80", Some("app-2")),
        ];
        let table = [
            (at("127.9.64.1:80"), endpoints.clone()),
            (at("127.9.64.2:80"), vec![]),
        ];
        let routes = ServiceRoutes(watch::channel(BTreeMap::from(table)).1);
        let chosen: BTreeSet<_> = (0..100)
            .map(|_| routes.endpoint(at("127.9.64.1:80")).unwrap())
            .collect();
        assert!(chosen.iter().eq(&endpoints), "{chosen:?}");
        assert_eq!(routes.endpoint(at("127.9.64.2:80")), None);
        let elsewhere = at("127.0.0.1:80");
        let itself = backend("127.0.0.1:80", None);
        assert_eq!(routes.endpoint(elsewhere), Some(itself));
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_of_two_changes_in_a_row_waits_for_the_next_sync() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let store = Store::new();
        let service = json!({
            "metadata": {"name": "app", "namespace": "default"},
            "spec": {"clusterIP": "127.0.0.1", "ports": [{"port": port}]},
        });
        store.create(Resource::Services, service).unwrap();
        let slice = json!({
            "metadata": {
                "name": "app",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "app"},
            },
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [],
        });
        store.create(Resource::EndpointSlices, slice).unwrap();
        let options = ProxyOptions::default();
        let proxy = spawn(store.clone(), options);
        let mut routes = proxy.routes();
        assert!(routes.changed().await);
        tokio::time::advance(10 * MIN_SYNC_PERIOD).await;

        let begun = Instant::now();
        for endpoints in [json!([{"addresses": ["127.0.0.2"]}]), json!([])] {
            let changed = store.update(Resource::EndpointSlices, "default", "app", |slice| {
                slice["endpoints"] = endpoints;
            });
            changed.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        let known = |routes: &ServiceRoutes| routes.all().into_values().map(|it| it.len()).sum();
        for (endpoints, after) in [(1, Duration::ZERO), (0, MIN_SYNC_PERIOD)] {
            assert!(routes.changed().await);
            let known: usize = known(&routes);
            assert_eq!(known, endpoints);
            let late = begun.elapsed() - options.watch_latency - after;
            assert!(late < Duration::from_millis(5), "{late:?} too late");
        }
        proxy.shutdown().await;
    }
}
