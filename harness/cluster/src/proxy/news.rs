//! What the proxy knows of Services and EndpointSlices: each change a moment after it was made, one
//! after the other, as a watch tells them.
//!
//! Not the store as it is by then. That a new pod is ready and that an old one leaves are two changes,
//! which here follow each other within the latency; seen as one they would cost a rolling update less
//! than on a real cluster, where the second waits for the proxy's next sync.
//!
//! What is nothing to a proxy is no change, as in kube-proxy's trackers (`pkg/proxy/servicechangetracker.go`,
//! `endpointslicecache.go`): the selector of a Service, for one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::store::{Event, EventKind, Key, Kinds, Resource, Store, Stored};

/// Services and EndpointSlices as they were some time ago.
pub(super) struct News {
    latency: Duration,
    changes: mpsc::UnboundedReceiver<Event>,
    /// What is on its way, and when it arrives.
    under_way: VecDeque<(Instant, Event)>,
    known: BTreeMap<Key, Arc<Stored>>,
}

impl News {
    /// Begins with what is there now, which takes as long to arrive as everything after it.
    pub(super) fn follow(store: &Store, latency: Duration) -> Self {
        let kinds = Kinds::Only(&[Resource::Services, Resource::EndpointSlices]);
        let mut changes = store.subscribe(kinds);
        let arrival = Instant::now() + latency;
        // All at the same moment, so that nothing is seen without what belongs to it.
        let present = std::iter::from_fn(|| changes.try_recv().ok());
        Self {
            latency,
            under_way: present.map(|event| (arrival, event)).collect(),
            changes,
            known: BTreeMap::new(),
        }
    }

    /// Waits until something is written; a change is on its way from then on. Dropping the future loses
    /// nothing.
    pub(super) async fn happens(&mut self) {
        let event = self.changes.recv().await;
        let event = event.expect("the proxy holds the store, and that the other end");
        if is_change(&event) {
            let arrival = Instant::now() + self.latency;
            self.under_way.push_back((arrival, event));
        }
    }

    /// When the next change arrives; a moment that has passed means "now".
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.front().map(|(arrival, _)| *arrival)
    }

    /// Takes note of all that has arrived by `moment`.
    pub(super) fn take_in(&mut self, moment: Instant) {
        while let Some((_, event)) = self.under_way.pop_front_if(|(at, _)| *at <= moment) {
            let key = Key::of(event.resource, &event.object);
            match event.kind {
                EventKind::Added | EventKind::Modified => {
                    self.known.insert(key, event.object);
                }
                EventKind::Deleted => {
                    self.known.remove(&key);
                }
            }
        }
    }

    /// All known objects of a kind, by namespace and name.
    pub(super) fn all<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        resource: &Resource,
    ) -> Vec<Arc<T>> {
        self.known
            .iter()
            .filter(|(key, _)| key.resource == *resource)
            .filter_map(|(_, object)| object.typed())
            .collect()
    }
}

/// Whether it changes anything that decides where connections go.
fn is_change(event: &Event) -> bool {
    let Some(before) = event.previous.as_ref() else {
        return true;
    };
    let parts: &[&str] = match event.resource {
        Resource::Services => &["/spec/clusterIP", "/spec/ports"],
        _ => &["/metadata/labels", "/ports", "/endpoints"],
    };
    let differs = |part: &&str| before.pointer(part) != event.object.pointer(part);
    event.kind == EventKind::Deleted || parts.iter().any(differs)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use serde_json::{Value, json};
    use tokio::time::advance;

    use super::*;
    use crate::store::DeleteOptions;

    const LATENCY: Duration = Duration::from_millis(20);
    const MOMENT: Duration = Duration::from_millis(1);

    fn slice(name: &str, pods: &[&str]) -> Value {
        let endpoints = pods.iter().map(|pod| json!({"addresses": [pod]}));
        json!({
            "metadata": {"name": name, "namespace": "default"},
            "addressType": "IPv4",
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    }

    fn set(store: &Store, name: &str, pods: &[&str]) {
        let changed = store.update(Resource::EndpointSlices, "default", name, |object| {
            object["endpoints"] = slice(name, pods)["endpoints"].clone();
        });
        changed.unwrap();
    }

    fn known(news: &News) -> Vec<String> {
        let slices = news.all::<EndpointSlice>(&Resource::EndpointSlices);
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        endpoints.map(|one| one.addresses[0].clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn two_changes_within_the_latency_are_heard_of_one_after_the_other() {
        let store = Store::new();
        let old = slice("app", &["10.0.0.1"]);
        store.create(Resource::EndpointSlices, old).unwrap();
        let mut news = News::follow(&store, LATENCY);
        assert!(known(&news).is_empty());
        advance(LATENCY).await;
        news.take_in(Instant::now());
        assert_eq!(known(&news), ["10.0.0.1"]);
        assert_eq!(news.next_arrival(), None);

        set(&store, "app", &["10.0.0.1", "10.0.0.2"]);
        news.happens().await;
        let heard = Instant::now() + LATENCY;
        advance(MOMENT).await;
        set(&store, "app", &["10.0.0.2"]);
        news.happens().await;
        assert_eq!(news.next_arrival(), Some(heard));
        news.take_in(heard);
        assert_eq!(known(&news), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(news.next_arrival(), Some(heard + MOMENT));
        news.take_in(heard + MOMENT);
        assert_eq!(known(&news), ["10.0.0.2"]);
        assert_eq!(news.next_arrival(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_nothing_to_a_proxy_is_no_change() {
        let store = Store::new();
        let service = json!({
            "metadata": {"name": "app", "namespace": "default"},
            "spec": {"clusterIP": "10.0.0.9", "selector": {"app": "a"}, "ports": [{"port": 80}]},
        });
        store.create(Resource::Services, service).unwrap();
        let slice = slice("app", &["10.0.0.1"]);
        store.create(Resource::EndpointSlices, slice).unwrap();
        let mut news = News::follow(&store, LATENCY);
        news.take_in(Instant::now() + LATENCY);
        let change = |resource, part: &'static str, value: Value| {
            let changed = store.update(resource, "default", "app", |object| {
                *object.pointer_mut(part).unwrap() = value;
            });
            changed.unwrap();
        };
        change(Resource::Services, "/spec/selector", json!({"app": "b"}));
        news.happens().await;
        change(Resource::EndpointSlices, "/metadata", {
            let mut metadata = store
                .get(Resource::EndpointSlices, "default", "app")
                .unwrap()["metadata"]
                .clone();
            metadata["annotations"] = json!({"note": "read"});
            metadata
        });
        news.happens().await;
        assert_eq!(news.next_arrival(), None);
        change(Resource::Services, "/spec/ports", json!([{"port": 81}]));
        news.happens().await;
        assert!(news.next_arrival().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_is_forgotten() {
        let store = Store::new();
        for name in ["a", "b"] {
            let slice = slice(name, &[name]);
            store.create(Resource::EndpointSlices, slice).unwrap();
        }
        let mut news = News::follow(&store, LATENCY);
        news.take_in(Instant::now() + LATENCY);
        assert_eq!(known(&news), ["a", "b"]);
        let deletion = DeleteOptions::default();
        let deleted = store.delete(Resource::EndpointSlices, "default", "a", &deletion);
        deleted.unwrap();
        news.happens().await;
        news.take_in(Instant::now() + LATENCY);
        assert_eq!(known(&news), ["b"]);
    }
}
