//! What a watcher costs: each should cost as much as any other, however many there are.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{from_value, json};
use tokio::task::JoinSet;

use crate::measure::{median, microseconds, milliseconds, own_processor_time};
use crate::site::{DEADLINE, Site};

const CHANGES: u32 = 50;

pub(crate) async fn run() {
    println!("\n## Watchers of one kind ({CHANGES} changes, clients in the same process)\n");
    println!(
        "| watchers | CPU per change and watcher, µs | a change until the last watcher has it, median ms |\n|---|---|---|"
    );
    for count in [10, 100, 1000] {
        let (cost, delay) = row(count).await;
        println!(
            "| {count} | {} | {} |",
            microseconds(cost),
            milliseconds(delay)
        );
    }
}

async fn row(count: u32) -> (Duration, Duration) {
    let site = Site::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(site.client.clone());
    let object = from_value(json!({"metadata": {"name": "watched"}})).unwrap();
    let created = api.create(&PostParams::default(), &object).await.unwrap();
    let version = created.metadata.resource_version.unwrap();
    let (seen, mut last_seen) = tokio::sync::mpsc::unbounded_channel();
    let mut watchers = JoinSet::new();
    for _ in 0..count {
        let (api, version, seen) = (api.clone(), version.clone(), seen.clone());
        watchers.spawn(async move {
            let stream = api.watch(&WatchParams::default(), &version).await.unwrap();
            let mut stream = stream.boxed();
            while let Some(event) = stream.try_next().await.unwrap() {
                if let WatchEvent::Modified(_) = event {
                    seen.send(()).unwrap();
                }
            }
        });
    }
    let before = own_processor_time();
    let mut delays = Vec::new();
    for number in 0..CHANGES {
        let patch = Patch::Merge(json!({"data": {"key": number.to_string()}}));
        let start = Instant::now();
        let parameters = PatchParams::default();
        api.patch("watched", &parameters, &patch).await.unwrap();
        for _ in 0..count {
            let told = tokio::time::timeout(DEADLINE, last_seen.recv()).await;
            told.unwrap().unwrap();
        }
        delays.push(start.elapsed());
    }
    let cost = (own_processor_time() - before) / (CHANGES * count);
    watchers.shutdown().await;
    site.end().await;
    (cost, median(delays))
}
