//! From nothing to a control plane that answers, and to a pod that is ready.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use rand::Rng as _;
use serde_json::{from_value, json};
use tokio::time::{sleep, timeout};

use crate::measure::{milliseconds, quantile};
use crate::site::{DEADLINE, Site, is_ready, sleeping_pod};

const RUNS: usize = 15;

/// Instead of the kubelet's second: shows what the rest takes.
const SHORT_RELIST: Duration = Duration::from_millis(10);

/// Pods that are created at moments of their own on a node that has long been there.
const PODS: usize = 100;
const MOMENTS: Duration = Duration::from_secs(10);

pub(crate) async fn run() {
    println!("\n## Start ({RUNS} clusters, {PODS} pods, ms)\n");
    println!("| | least | 25 % | median | 75 % | most |\n|---|---|---|---|---|---|");
    let ways = [
        ("as the kubelet: containers looked at once a second", None),
        ("containers looked at every 10 ms", Some(SHORT_RELIST)),
    ];
    for (way, relist_period) in ways {
        let mut answered = Vec::new();
        let mut ready = Vec::new();
        for _ in 0..RUNS {
            let (first, second) = first_pod(relist_period).await;
            answered.push(first);
            ready.push(second);
        }
        print_row("first answer of the API", way, answered);
        print_row("first pod ready", way, ready);
        let later = later_pods(relist_period).await;
        print_row("a later pod, from its creation to ready", way, later);
    }
}

fn print_row(what: &str, way: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let cells = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| milliseconds(quantile(&times, share)));
    println!("| {what} ({way}) | {} |", cells.join(" | "));
}

async fn first_pod(relist_period: Option<Duration>) -> (Duration, Duration) {
    let start = Instant::now();
    let site = Site::with_relist_period(relist_period).await;
    site.client.apiserver_version().await.unwrap();
    let answered = start.elapsed();
    until_ready(&site, "first").await;
    let ready = start.elapsed();
    site.end().await;
    (answered, ready)
}

async fn later_pods(relist_period: Option<Duration>) -> Vec<Duration> {
    let site = Site::with_relist_period(relist_period).await;
    let pods = (0..PODS).map(async |number| {
        sleep(MOMENTS.mul_f64(rand::rng().random())).await;
        let start = Instant::now();
        until_ready(&site, &format!("pod-{number}")).await;
        start.elapsed()
    });
    let times = join_all(pods).await;
    site.end().await;
    times
}

/// Creates a pod and waits until it is ready.
async fn until_ready(site: &Site, name: &str) {
    let pod = json!({"metadata": {"name": name}, "spec": sleeping_pod()});
    let created = site
        .pods()
        .create(&PostParams::default(), &from_value(pod).unwrap())
        .await;
    created.unwrap();
    let ready = await_condition(site.pods(), name, |pod: Option<&_>| {
        pod.is_some_and(is_ready)
    });
    timeout(DEADLINE, ready).await.unwrap().unwrap();
}
