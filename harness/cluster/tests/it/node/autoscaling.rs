//! Autoscaling of real processes, which are measured.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_cluster::{AutoscalingOptions, Options};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::{v1, v2};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::stage::{DEADLINE, Stage};
use crate::kubectl::Kubectl;

/// A tenth of a core or so, used by processes that are soon over.
const BURN: &str =
    "while :; do sh -c 'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done'; sleep 0.2; done";

/// Everything as always, only sooner.
async fn hurried() -> Stage {
    Stage::with(Options {
        autoscaling: AutoscalingOptions {
            metric_resolution: Duration::from_secs(1),
            sync_period: Duration::from_secs(1),
            ..AutoscalingOptions::default()
        },
        ..Options::default()
    })
    .await
}

/// A deployment of one shell that runs `script` and asks for a hundredth of a core.
async fn deploy(stage: &Stage, name: &str, script: &str) {
    let container = json!({
        "name": "main", "image": "shell", "args": ["-c", script],
        "resources": {"requests": {"cpu": "10m", "memory": "1Mi"}},
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    });
    stage.create::<Deployment>(deployment).await;
}

fn target(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name})
}

/// What each pod with this label uses, in thousandths of a core, once all are measured.
async fn cores(stage: &Stage, app: &str, pods: usize) -> BTreeMap<String, u64> {
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let measured = async {
        loop {
            let request = http::Request::get(format!("{path}?labelSelector=app%3D{app}"));
            let request = request.body(Vec::new()).unwrap();
            let list: Value = stage.client.request(request).await.unwrap();
            let items = list["items"].as_array().unwrap();
            if items.len() == pods {
                return items.iter().map(milli).collect();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(DEADLINE, measured)
        .await
        .expect("pods should be measured")
}

fn milli(pod: &Value) -> (String, u64) {
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    let nanocores = pod["containers"][0]["usage"]["cpu"].as_str().unwrap();
    let nanocores: u64 = nanocores.strip_suffix('n').unwrap().parse().unwrap();
    (name, nanocores / 1_000_000)
}

fn scaled_to(replicas: i32) -> impl kube::runtime::wait::Condition<Deployment> {
    move |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.ready_replicas == Some(replicas))
    }
}

#[tokio::test]
async fn a_busy_deployment_gets_more_replicas() {
    let stage = hurried().await;
    deploy(&stage, "busy", BURN).await;
    deploy(&stage, "idle", "sleep 1000000").await;
    let kubectl = Kubectl::find(&stage.kubeconfig()).await;
    let watch = kubectl
        .as_ref()
        .map(|kubectl| kubectl.lines(&["get", "deploy", "busy", "-w"]));
    stage
        .create::<v1::HorizontalPodAutoscaler>(json!({
            "metadata": {"name": "busy"},
            "spec": {
                "minReplicas": 1, "maxReplicas": 3,
                "targetCPUUtilizationPercentage": 50, "scaleTargetRef": target("busy"),
            },
        }))
        .await;
    stage
        .create::<v2::HorizontalPodAutoscaler>(json!({
            "metadata": {"name": "idle"},
            "spec": {
                "minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": target("idle"),
                "metrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "AverageValue", "averageValue": "500m"},
                }}],
            },
        }))
        .await;
    stage.until("busy", scaled_to(3)).await;
    stage.event("busy", "SuccessfulRescale").await;
    let active = |found: Option<&v2::HorizontalPodAutoscaler>| {
        let status = found.and_then(|found| found.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "ScalingActive" && condition.status == "True")
    };
    let busy = stage
        .until::<v2::HorizontalPodAutoscaler>("busy", active)
        .await;
    let status = busy.status.unwrap();
    assert_eq!(status.desired_replicas, 3);
    assert!(status.last_scale_time.is_some());
    let used = cores(&stage, "busy", 3).await;
    assert!(used.values().all(|milli| *milli >= 5), "{used:?}");

    let idle = stage
        .until::<v2::HorizontalPodAutoscaler>("idle", active)
        .await;
    assert_eq!(idle.status.unwrap().desired_replicas, 1);
    let used = cores(&stage, "idle", 1).await;
    assert!(used.values().all(|milli| *milli < 250), "{used:?}");
    if let (Some(kubectl), Some((_watch, mut lines))) = (kubectl, watch) {
        let mut wanted = Vec::new();
        let story = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let Some((ready, all)) = line
                    .split_whitespace()
                    .nth(1)
                    .and_then(|cell| cell.split_once('/'))
                else {
                    continue;
                };
                wanted.push(all.parse::<u32>().unwrap());
                if (ready, all) == ("3", "3") {
                    break;
                }
            }
        };
        timeout(DEADLINE, story)
            .await
            .expect("kubectl should tell of three replicas");
        assert!(
            wanted.first() == Some(&1) && wanted.is_sorted(),
            "{wanted:?}"
        );
        what_kubectl_shows(&kubectl).await;
    }
    stage.shutdown().await;
}

async fn what_kubectl_shows(kubectl: &Kubectl) {
    let rows = |printed: &str| -> Vec<Vec<String>> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        printed.lines().map(words).collect()
    };
    let printed = kubectl.run(&["get", "hpa", "busy"]).await;
    let shown = rows(&printed);
    assert_eq!(shown[1][1..3], ["Deployment/busy", "cpu:"], "{printed}");
    assert!(shown[1][3].ends_with("%/50%"), "{printed}");
    let pods = rows(&kubectl.run(&["top", "pods", "-l", "app=busy"]).await);
    assert_eq!(pods[0], ["NAME", "CPU(cores)", "MEMORY(bytes)"]);
    assert_eq!(pods.len(), 4);
    let containers = rows(&kubectl.run(&["top", "pods", "--containers"]).await);
    assert_eq!(
        containers[0],
        ["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]
    );
    assert_eq!(containers[1][1], "main");
    let nodes = rows(&kubectl.run(&["top", "nodes"]).await);
    assert_eq!(
        nodes[0],
        ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    );
    assert_eq!(nodes[1][0], "local");
}
