//! From nothing to a control plane that answers, and to a pod that is ready.

use std::time::{Duration, Instant};

use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use serde_json::{from_value, json};

use crate::measure::{median, milliseconds};
use crate::site::{DEADLINE, Site, is_ready, sleeping_pod};

const RUNS: usize = 15;

/// Instead of the kubelet's second: shows what the rest takes.
const SHORT_RELIST: Duration = Duration::from_millis(10);

pub(crate) async fn run() {
    println!("\n## Start ({RUNS} runs, ms)\n");
    println!("| | median | least | most |\n|---|---|---|---|");
    let ways = [
        ("as the kubelet: containers looked at once a second", None),
        ("containers looked at every 10 ms", Some(SHORT_RELIST)),
    ];
    for (way, relist_period) in ways {
        let mut answered = Vec::new();
        let mut ready = Vec::new();
        for _ in 0..RUNS {
            let (first, second) = once(relist_period).await;
            answered.push(first);
            ready.push(second);
        }
        print_row("first answer of the API", way, answered);
        print_row("first pod ready", way, ready);
    }
}

fn print_row(what: &str, way: &str, times: Vec<Duration>) {
    let least = times.iter().min().copied().unwrap_or_default();
    let most = times.iter().max().copied().unwrap_or_default();
    println!(
        "| {what} ({way}) | {} | {} | {} |",
        milliseconds(median(times)),
        milliseconds(least),
        milliseconds(most)
    );
}

async fn once(relist_period: Option<Duration>) -> (Duration, Duration) {
    let start = Instant::now();
    let site = Site::with_relist_period(relist_period).await;
    site.client.apiserver_version().await.unwrap();
    let answered = start.elapsed();
    let pod = json!({"metadata": {"name": "first"}, "spec": sleeping_pod()});
    let created = site
        .pods()
        .create(&PostParams::default(), &from_value(pod).unwrap())
        .await;
    created.unwrap();
    let ready = await_condition(site.pods(), "first", |pod: Option<&_>| {
        pod.is_some_and(is_ready)
    });
    tokio::time::timeout(DEADLINE, ready)
        .await
        .unwrap()
        .unwrap();
    let ready = start.elapsed();
    site.end().await;
    (answered, ready)
}
