//! Many pods on one machine: how long until all are ready, and what they cost.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use serde_json::{from_value, json};

use crate::measure::{Idle, children, megabytes, memory, open_files, own_processor_time};
use crate::site::{DEADLINE, Site, sleeping_pod};

/// How long an idle cluster is looked at: two measurements of what pods use are in it.
const LOOK: Duration = Duration::from_secs(30);

pub(crate) async fn run() {
    println!(
        "\n## Pods that sleep (idle CPU: over {} s)\n",
        LOOK.as_secs()
    );
    println!(
        "| pods | all ready, s | own CPU until then, s | idle CPU, % of a core | own memory, MB | of it private, MB | shims: private memory each, KB | own files open per pod |\n|---|---|---|---|---|---|---|---|"
    );
    for count in [1, 10, 100, 200] {
        println!("{}", row(count).await);
    }
}

async fn row(count: i32) -> String {
    let site = Site::start().await;
    let files = open_files();
    let (start, worked) = (Instant::now(), own_processor_time());
    create(&site, count).await;
    let (ready, worked) = (start.elapsed(), own_processor_time() - worked);
    let idle = Idle::look(LOOK).await;
    let (private, resident) = memory(std::process::id());
    let shims: u64 = children().into_iter().map(|shim| memory(shim).0).sum();
    let pods = u64::from(count.unsigned_abs());
    let row = format!(
        "| {count} | {:.2} | {:.2} | {} | {} | {} | {} | {:.1} |",
        ready.as_secs_f64(),
        worked.as_secs_f64(),
        idle.percent(),
        megabytes(resident),
        megabytes(private),
        shims / pods,
        (open_files() - files) as f64 / f64::from(count),
    );
    site.end().await;
    row
}

async fn create(site: &Site, count: i32) {
    let deployments: Api<Deployment> = Api::default_namespaced(site.client.clone());
    let deployment = json!({
        "metadata": {"name": "many"},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": {"app": "many"}},
            "template": {"metadata": {"labels": {"app": "many"}}, "spec": sleeping_pod()},
        },
    });
    let created = deployments
        .create(&PostParams::default(), &from_value(deployment).unwrap())
        .await;
    created.unwrap();
    let all_ready = |found: Option<&Deployment>| {
        let status = found.and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.ready_replicas) == Some(count)
    };
    let ready = await_condition(deployments, "many", all_ready);
    tokio::time::timeout(DEADLINE, ready)
        .await
        .unwrap()
        .unwrap();
}
