//! What a change costs when there are many other objects: it should not matter how many.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, from_value, json};
use tokio::time::sleep;

use crate::measure::{microseconds, own_processor_time};
use crate::site::Site;

const CHANGES: u32 = 200;

/// Long enough for what the changes have set off to end.
const SETTLE: Duration = Duration::from_millis(500);

pub(crate) async fn run() {
    println!("\n## Objects: CPU of one change, client included (µs, {CHANGES} changes)\n");
    println!(
        "| objects of each kind | a ConfigMap patched | a Deployment without pods patched | a pod's labels patched | list all pods, per pod |\n|---|---|---|---|---|"
    );
    for count in [10, 100, 1000] {
        let site = Site::start().await;
        fill(&site, count).await;
        sleep(SETTLE).await;
        let config_maps: Api<ConfigMap> = Api::default_namespaced(site.client.clone());
        let deployments: Api<Deployment> = Api::default_namespaced(site.client.clone());
        println!(
            "| {count} | {} | {} | {} | {} |",
            microseconds(cost_of_patch(&config_maps).await),
            microseconds(cost_of_patch(&deployments).await),
            microseconds(cost_of_patch(&site.pods()).await),
            microseconds(cost_of_list(&site.pods(), count).await),
        );
        site.end().await;
    }
}

/// Pods wait for ever: an unmapped image is not started, and a cordoned node takes none.
async fn fill(site: &Site, count: u32) {
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(site.client.clone());
    nodes.cordon("local").await.unwrap();
    let config_maps: Api<ConfigMap> = Api::default_namespaced(site.client.clone());
    let deployments: Api<Deployment> = Api::default_namespaced(site.client.clone());
    let pods: Api<Pod> = site.pods();
    let parameters = PostParams::default();
    for number in 0..count {
        let metadata = json!({"name": format!("o-{number}")});
        let spec = json!({"containers": [{"name": "c", "image": "sleep"}]});
        let labels = json!({"app": format!("o-{number}")});
        let template = json!({"metadata": {"labels": labels}, "spec": spec});
        let deployment = json!({
            "metadata": metadata,
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
        });
        let config_map = json!({"metadata": metadata, "data": {"key": "value"}});
        let pod = json!({"metadata": metadata, "spec": spec});
        config_maps
            .create(&parameters, &typed(config_map))
            .await
            .unwrap();
        deployments
            .create(&parameters, &typed(deployment))
            .await
            .unwrap();
        pods.create(&parameters, &typed(pod)).await.unwrap();
    }
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    from_value(value).unwrap()
}

async fn cost_of_patch<K>(api: &Api<K>) -> Duration
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let before = own_processor_time();
    for number in 0..CHANGES {
        let patch = json!({"metadata": {"labels": {"change": number.to_string()}}});
        let parameters = PatchParams::default();
        api.patch("o-0", &parameters, &Patch::Merge(patch))
            .await
            .unwrap();
    }
    sleep(SETTLE).await;
    (own_processor_time() - before) / CHANGES
}

async fn cost_of_list(pods: &Api<Pod>, count: u32) -> Duration {
    let rounds = 10;
    let before = own_processor_time();
    for _ in 0..rounds {
        let listed = pods.list(&ListParams::default()).await.unwrap();
        assert_eq!(listed.items.len(), usize::try_from(count).unwrap());
    }
    (own_processor_time() - before) / (rounds * count)
}
