mod arbitrary;

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::runtime::watcher::{self, watcher};
use serde_json::json;
use tower::ServiceExt as _;

use super::*;
use crate::proxy::OwnListeners;
use crate::store::Resource;
use crate::subnet::Subnet;

const DEADLINE: Duration = Duration::from_secs(30);

pub(in crate::api) fn api(store: &Store) -> Api {
    let subnet = Subnet::all_from_random().next().unwrap();
    let addresses = ServiceAddresses::new(subnet, false, OwnListeners::default());
    Api::new(
        store.clone(),
        addresses,
        "token".to_owned(),
        None,
        Metrics::new(Duration::from_secs(15)),
        CancellationToken::new(),
    )
}

/// A client which calls the API without a network.
fn client(store: &Store) -> Client {
    let router =
        api(store)
            .authorized_router()
            .map_request(|request: http::Request<kube::client::Body>| {
                request.map(axum::body::Body::new)
            });
    Client::new(router, "default")
}

fn write(store: &Store, value: usize) {
    let change = |object: &mut Value| object["data"] = json!({"value": value.to_string()});
    store
        .update(Resource::ConfigMaps, "default", "busy", change)
        .unwrap();
}

/// More changes than the history holds, at once: the watch cannot follow.
#[tokio::test]
async fn a_watcher_which_fell_behind_lists_again() {
    let store = Store::with_history(4);
    let busy = json!({"metadata": {"name": "busy", "namespace": "default"}});
    store.create(Resource::ConfigMaps, busy).unwrap();
    let maps: kube::Api<ConfigMap> = kube::Api::default_namespaced(client(&store));
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let mut events = watcher(maps.clone(), config).boxed();
        let mut next = async || {
            tokio::time::timeout(DEADLINE, events.next())
                .await
                .unwrap()
                .unwrap()
        };
        while !matches!(next().await, Ok(watcher::Event::InitDone)) {}
        write(&store, 0);
        while !matches!(next().await, Ok(watcher::Event::Apply(_))) {}
        (1..20).for_each(|value| write(&store, value));
        let mut expired = false;
        loop {
            match next().await {
                Err(watcher::Error::WatchError(status)) => expired |= status.code == 410,
                Ok(watcher::Event::InitApply(map)) => {
                    assert_eq!(map.data.unwrap()["value"], "19");
                    break;
                }
                other => assert!(other.is_ok(), "{other:?}"),
            }
        }
        assert!(expired, "the watcher was told that it fell behind");
    }
}

/// The state that the first page showed is forgotten: the client lists anew.
#[tokio::test]
async fn a_page_whose_beginning_is_forgotten_is_refused() {
    let store = Store::with_history(4);
    for name in ["a", "busy"] {
        let map = json!({"metadata": {"name": name, "namespace": "default"}});
        store.create(Resource::ConfigMaps, map).unwrap();
    }
    let maps: kube::Api<ConfigMap> = kube::Api::default_namespaced(client(&store));
    let first = kube::api::ListParams::default().limit(1);
    let page = maps.list(&first).await.unwrap();
    let next = first.continue_token(&page.metadata.continue_.unwrap());
    (0..9).for_each(|value| write(&store, value));
    let Err(kube::Error::Api(status)) = maps.list(&next).await else {
        panic!("an old page was continued");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}
