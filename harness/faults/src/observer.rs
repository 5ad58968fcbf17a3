//! Watches the target Service: its endpoints, and the circuit breakers its pods show at
//! `/metrics` (`circuit_breaker_state{name="…",state="…"} 1`). Sends changes only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use holdfast_core::event::{Event, Observation};
use holdfast_engine::{Events, Observer};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the metrics of each pod are read, and how long an answer may take.
const SCRAPE_INTERVAL: Duration = Duration::from_millis(500);
const SCRAPE_TIMEOUT: Duration = Duration::from_millis(400);

/// Watches Services of one namespace.
pub struct KubeObserver {
    client: Client,
    http: reqwest::Client,
    namespace: String,
    services: Vec<String>,
}

/// `ip:port` of each listed endpoint, by pod name, with its readiness.
type Endpoints = BTreeMap<String, (String, bool)>;

/// The state of each breaker, by pod and by breaker name.
type Breakers = BTreeMap<String, BTreeMap<String, String>>;

impl std::fmt::Debug for KubeObserver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KubeObserver")
            .field("namespace", &self.namespace)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl KubeObserver {
    /// An observer of the named Services.
    #[must_use]
    pub fn new(client: Client, namespace: &str, services: Vec<String>) -> Self {
        Self {
            client,
            http: direct_client(),
            namespace: namespace.to_owned(),
            services,
        }
    }

    async fn watch_endpoints(&self, service: &str, shared: &Mutex<Endpoints>, events: &Events) {
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &self.namespace);
        let selector = format!("kubernetes.io/service-name={service}");
        let mut slices: BTreeMap<String, Endpoints> = BTreeMap::new();
        let mut last = None;
        let stream = watcher(api, watcher::Config::default().labels(&selector)).default_backoff();
        let mut stream = std::pin::pin!(stream);
        loop {
            match stream.try_next().await {
                Ok(Some(change)) => apply(change, &mut slices),
                Ok(None) => return,
                // The watcher has backed off and tries again by itself.
                Err(_) => continue,
            }
            let endpoints: Endpoints = slices
                .values()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            let total = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
            let ready = endpoints.values().filter(|(_, ready)| *ready).count();
            let ready = u32::try_from(ready).unwrap_or(u32::MAX);
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = endpoints;
            if last != Some((ready, total)) {
                last = Some((ready, total));
                events.send(Event::Observed(Observation::Endpoints {
                    service: service.to_owned(),
                    ready,
                    total,
                }));
            }
        }
    }

    async fn scrape(&self, shared: &Mutex<Endpoints>, events: &Events) {
        let mut interval = tokio::time::interval(SCRAPE_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let listed = || {
            let endpoints = shared.lock().unwrap_or_else(PoisonError::into_inner);
            endpoints.clone()
        };
        let mut known = Breakers::new();
        loop {
            interval.tick().await;
            let endpoints = listed();
            known.retain(|pod, _| endpoints.contains_key(pod));
            for (pod, (address, _)) in endpoints {
                let found = self.breakers(&address).await;
                // The pod may have gone, and its address to another, while it was asked.
                if listed().get(&pod).is_none_or(|(now, _)| *now != address) {
                    continue;
                }
                for observation in changes(&mut known, &pod, found) {
                    events.send(Event::Observed(observation));
                }
            }
        }
    }

    /// The breakers of one pod; none when it shows none or does not answer in time.
    async fn breakers(&self, address: &str) -> Vec<(String, String)> {
        let request = self
            .http
            .get(format!("http://{address}/metrics"))
            .timeout(SCRAPE_TIMEOUT);
        let Ok(response) = request.send().await else {
            return Vec::new();
        };
        parse_breakers(&response.text().await.unwrap_or_default())
    }
}

/// Pods are asked directly: the environment's proxy cannot reach them, or would answer for them.
fn direct_client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client without TLS needs nothing from the system")
}

/// The breakers of a pod that are not in the state they were in, which is noted.
fn changes(known: &mut Breakers, pod: &str, found: Vec<(String, String)>) -> Vec<Observation> {
    let known = known.entry(pod.to_owned()).or_default();
    let mut changes = Vec::new();
    for (breaker, state) in found {
        if known.insert(breaker.clone(), state.clone()).as_ref() != Some(&state) {
            changes.push(Observation::Breaker {
                pod: pod.to_owned(),
                breaker,
                state,
            });
        }
    }
    changes
}

#[async_trait]
impl Observer for KubeObserver {
    async fn run(&self, events: Events, stop: CancellationToken) {
        let all = futures::stream::iter(&self.services).for_each_concurrent(None, |service| {
            let events = events.clone();
            async move {
                let shared = Arc::new(Mutex::new(Endpoints::new()));
                tokio::join!(
                    self.watch_endpoints(service, &shared, &events),
                    self.scrape(&shared, &events)
                );
            }
        });
        tokio::select! {
            () = all => {}
            () = stop.cancelled() => {}
        }
    }
}

fn apply(change: watcher::Event<EndpointSlice>, slices: &mut BTreeMap<String, Endpoints>) {
    match change {
        watcher::Event::Init => slices.clear(),
        watcher::Event::InitApply(slice) | watcher::Event::Apply(slice) => {
            slices.insert(slice.name_any(), endpoints(&slice));
        }
        watcher::Event::Delete(slice) => {
            slices.remove(&slice.name_any());
        }
        watcher::Event::InitDone => {}
    }
}

fn endpoints(slice: &EndpointSlice) -> Endpoints {
    let ports = slice.ports.iter().flatten();
    let Some(port) = ports.filter_map(|port| port.port).next() else {
        return Endpoints::new();
    };
    let listed = slice.endpoints.iter().filter_map(|endpoint| {
        let address = endpoint.addresses.first()?;
        let target = endpoint
            .target_ref
            .as_ref()
            .and_then(|target| target.name.clone());
        let conditions = endpoint.conditions.as_ref();
        // The API's rule: an unset condition means ready.
        let ready = conditions.and_then(|all| all.ready).unwrap_or(true);
        Some((
            target.unwrap_or_else(|| address.clone()),
            (format!("{address}:{port}"), ready),
        ))
    });
    listed.collect()
}

/// Breaker names with their current state from a Prometheus text exposition.
fn parse_breakers(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let (labels, value) = line
                .strip_prefix("circuit_breaker_state{")?
                .split_once('}')?;
            let current: f64 = value.split_whitespace().next()?.parse().ok()?;
            (current > 0.5).then_some(())?;
            Some((label(labels, "name")?, label(labels, "state")?))
        })
        .collect()
}

fn label(labels: &str, name: &str) -> Option<String> {
    labels.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_current_state_of_each_breaker() {
        let text = "# TYPE circuit_breaker_state gauge\n\
            circuit_breaker_state{name=\"pay\",state=\"closed\"} 0\n\
            circuit_breaker_state{name=\"pay\",state=\"open\"} 1\n\
            circuit_breaker_state{state=\"half_open\",name=\"store\"} 1.0 1700000000\n\
            other{name=\"x\"} 1\n";
        assert_eq!(
            parse_breakers(text),
            [
                ("pay".to_owned(), "open".to_owned()),
                ("store".to_owned(), "half_open".to_owned())
            ]
        );
        assert!(parse_breakers("circuit_breaker_state{").is_empty());
    }

    #[test]
    fn a_breaker_is_told_when_its_state_changes_and_anew_for_a_forgotten_pod() {
        let open = || vec![("pay".to_owned(), "open".to_owned())];
        let told = |state: &str| Observation::Breaker {
            pod: "app-1".to_owned(),
            breaker: "pay".to_owned(),
            state: state.to_owned(),
        };
        let mut known = Breakers::new();
        assert_eq!(changes(&mut known, "app-1", open()), [told("open")]);
        assert_eq!(changes(&mut known, "app-1", open()), []);
        let closed = vec![("pay".to_owned(), "closed".to_owned())];
        assert_eq!(changes(&mut known, "app-1", closed), [told("closed")]);
        known.remove("app-1");
        assert_eq!(changes(&mut known, "app-1", open()), [told("open")]);
    }
}
