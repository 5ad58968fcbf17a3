//! What is read of objects' conditions is what a stop condition needs to know.

use std::sync::atomic::Ordering;

use holdfast_core::condition::{ObjectKind, RequiredCondition, Status};
use holdfast_engine::ConditionReader;
use holdfast_faults::{KubeConditions, READYZ};
use http::{Request, Response};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{NAMESPACE, TestCluster};

fn required(kind: ObjectKind, name: &str, type_: &str) -> RequiredCondition {
    RequiredCondition {
        kind,
        name: name.to_owned(),
        type_: type_.to_owned(),
        status: Status::True,
    }
}

/// Why a condition is not what it must be; empty when it is.
async fn unmet(client: &Client, required: &RequiredCondition) -> String {
    let reader = KubeConditions::new(client.clone(), NAMESPACE);
    let shown = reader.conditions(required.kind, &required.name).await;
    let shown = shown.unwrap();
    required.unmet(shown.as_deref()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_available_or_not_or_gone() {
    let test = TestCluster::start().await;
    let required = required(ObjectKind::Deployment, "pay", "Available");
    let gone = "deployment pay does not exist";
    assert_eq!(unmet(&test.client, &required).await, gone);
    test.create_deployment("pay", 1).await;
    test.wait_until("pay", |deployment| {
        let status = deployment.status.as_ref();
        status.is_some_and(|status| status.conditions.is_some())
    })
    .await;
    assert_eq!(
        unmet(&test.client, &required).await,
        "deployment pay is not Available: MinimumReplicasUnavailable (Deployment does not have \
         minimum availability.)"
    );
    test.make_ready("pay", 1).await;
    assert_eq!(unmet(&test.client, &required).await, "");
    test.delete_deployment("pay").await;
    assert_eq!(unmet(&test.client, &required).await, gone);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_ready_or_not() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 1).await;
    let pods = test.api::<Pod>().list(&ListParams::default()).await;
    let pod = pods.unwrap().items[0].name_any();
    let required = required(ObjectKind::Pod, &pod, "Ready");
    assert_eq!(unmet(&test.client, &required).await, "");
    test.delete_a_pod("pay").await;
    let gone = format!("pod {pod} does not exist");
    assert_eq!(unmet(&test.client, &required).await, gone);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_found_outside_the_namespace() {
    let test = TestCluster::start().await;
    create_node(&test.client, "worker-1").await;
    let required = required(ObjectKind::Node, "worker-1", "Ready");
    for (status, words) in [
        ("True", ""),
        (
            "False",
            "node worker-1 is not Ready: KubeletNotReady (it is.)",
        ),
        (
            "Unknown",
            "Ready of node worker-1 is Unknown, not True: KubeletNotReady (it is.)",
        ),
    ] {
        let ready = json!({
            "type": "Ready", "status": status, "reason": "KubeletNotReady", "message": "it is."
        });
        tell(&test.client, "worker-1", ready).await;
        assert_eq!(unmet(&test.client, &required).await, words);
    }
    test.shutdown().await;
}

async fn create_node(client: &Client, name: &str) {
    let nodes = Api::<Node>::all(client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
}

/// Has a node show this condition.
async fn tell(client: &Client, node: &str, ready: Value) {
    let nodes = Api::<Node>::all(client.clone());
    let pressure = json!({"type": "DiskPressure", "status": "False"});
    let told = Patch::Merge(json!({"status": {"conditions": [pressure, ready]}}));
    let parameters = PatchParams::default();
    let told = nodes.patch_status(node, &parameters, &told).await;
    told.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_healthy_when_each_of_its_nodes_is_ready() {
    let test = TestCluster::start().await;
    let unhealthy = async || {
        let reader = KubeConditions::new(test.client.clone(), NAMESPACE);
        reader.cluster_health().await.unwrap().unmet()
    };
    let words = |words: &str| Some(words.to_owned());
    assert_eq!(unhealthy().await, words("the cluster has no nodes"));
    for node in ["worker-1", "worker-2"] {
        create_node(&test.client, node).await;
        let no_data = format!("node {node} has no condition Ready");
        assert_eq!(unhealthy().await, Some(no_data));
        let ready = json!({"type": "Ready", "status": "True"});
        tell(&test.client, node, ready).await;
        assert_eq!(unhealthy().await, None);
    }
    let gone = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"});
    tell(&test.client, "worker-2", gone).await;
    assert_eq!(
        unhealthy().await,
        words("Ready of node worker-2 is Unknown, not True: NodeStatusUnknown")
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_not_ready_says_what_is_not() {
    let test = TestCluster::start().await;
    let cluster = test.client.clone();
    // As one whose etcd does not answer.
    let failing = tower::service_fn(move |request: Request<Body>| {
        let cluster = cluster.clone();
        async move {
            if request.uri().path() != READYZ {
                return cluster.send(request).await;
            }
            let checks = "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n";
            let answer = Response::builder().status(500);
            Ok(answer.body(Body::from(checks.as_bytes().to_vec())).unwrap())
        }
    });
    let reader = KubeConditions::new(Client::new(failing, NAMESPACE), NAMESPACE);
    assert_eq!(
        reader.cluster_health().await.unwrap().unmet().as_deref(),
        Some("the API server is not ready: etcd failed: reason withheld")
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_conditions_shows_none() {
    let test = TestCluster::start().await;
    test.create::<HorizontalPodAutoscaler>(json!({
        "metadata": {"name": "pay"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "pay"},
            "maxReplicas": 2,
        },
    }))
    .await;
    let kind = ObjectKind::HorizontalPodAutoscaler;
    assert_eq!(
        unmet(&test.client, &required(kind, "pay", "NoSuchType")).await,
        "horizontalpodautoscaler pay has no condition NoSuchType"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_is_no_object_that_is_gone() {
    let test = TestCluster::start().await;
    let (client, down) = test.failing_client();
    down.store(true, Ordering::SeqCst);
    let reader = KubeConditions::new(client, NAMESPACE);
    let refused = reader.conditions(ObjectKind::Pod, "pay-1").await;
    let words = refused.unwrap_err().to_string();
    assert!(words.ends_with("connection refused"), "{words}");
    let refused = reader.cluster_health().await;
    let words = refused.unwrap_err().to_string();
    assert!(words.ends_with("connection refused"), "{words}");
    test.shutdown().await;
}
