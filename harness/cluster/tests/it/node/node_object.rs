//! The Node: what it says of the machine, that it lives, and who may come.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::stage::{DEADLINE, Stage, is_ready, pod};
use crate::kubectl::Kubectl;

#[tokio::test]
async fn the_node_renews_its_lease() {
    let stage = Stage::new().await;
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), "kube-node-lease");
    let first = leases.get("local").await.unwrap().spec.unwrap();
    assert_eq!(first.holder_identity.as_deref(), Some("local"));
    assert_eq!(first.lease_duration_seconds, Some(40));
    let renewed = await_condition(leases.clone(), "local", |lease: Option<&Lease>| {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        spec.is_some_and(|spec| spec.renew_time > first.renew_time)
    });
    timeout(DEADLINE, renewed).await.unwrap().unwrap();
    stage.shutdown().await;
}

/// What leader election comes down to: a lease is taken by whoever saw its latest version.
#[tokio::test]
async fn a_lease_has_one_holder() {
    let stage = Stage::new().await;
    let leases = stage.api::<Lease>();
    let lease = |holder: &str, transitions: u32, version: Option<String>| -> Lease {
        let object = json!({
            "metadata": {"name": "leader", "resourceVersion": version},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": 15,
                "leaseTransitions": transitions,
                "renewTime": "2026-01-01T00:00:00.000000Z",
            },
        });
        serde_json::from_value(object).unwrap()
    };
    let how = PostParams::default();
    let taken = leases.create(&how, &lease("a", 0, None)).await.unwrap();
    let refused = leases.create(&how, &lease("b", 0, None)).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_already_exists()));
    let seen = taken.metadata.resource_version;
    let renewed = lease("a", 0, seen.clone());
    let renewed = serde_json::to_value(renewed).map(|mut lease| {
        lease["spec"]["renewTime"] = "2026-01-01T00:00:02.000000Z".into();
        serde_json::from_value::<Lease>(lease).unwrap()
    });
    let renewed = leases
        .replace("leader", &how, &renewed.unwrap())
        .await
        .unwrap();
    let too_late = leases
        .replace("leader", &how, &lease("b", 1, seen))
        .await
        .unwrap_err();
    assert!(matches!(too_late, kube::Error::Api(status) if status.is_conflict()));
    let version = renewed.metadata.resource_version;
    let next = leases
        .replace("leader", &how, &lease("b", 1, version))
        .await
        .unwrap();
    assert_eq!(next.spec.unwrap().holder_identity.as_deref(), Some("b"));
    stage.shutdown().await;
}

#[tokio::test]
async fn a_cordoned_node_takes_no_new_pods() {
    let stage = Stage::new().await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let cordon = async |unschedulable: Value| {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": unschedulable}}));
        nodes
            .patch("local", &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    stage
        .create::<Pod>(pod("early", &json!({}), &json!({})))
        .await;
    stage.until("early", is_ready()).await;
    cordon(true.into()).await;
    stage
        .create::<Pod>(pod("late", &json!({}), &json!({})))
        .await;
    stage.event("late", "FailedScheduling").await;
    let waiting = stage.api::<Pod>().get("late").await.unwrap();
    assert_eq!(waiting.spec.unwrap().node_name, None);
    stage.until("early", is_ready()).await;
    cordon(Value::Null).await;
    stage.until("late", is_ready()).await;
    stage.shutdown().await;
}

#[tokio::test]
async fn kubectl_shows_node_and_leases() {
    let stage = Stage::new().await;
    let Some(kubectl) = Kubectl::find(&stage.kubeconfig()).await else {
        return stage.shutdown().await;
    };
    let namespaces = kubectl.run(&["get", "namespaces", "-o", "name"]).await;
    let names: Vec<_> = namespaces.lines().collect();
    let expected = ["default", "kube-node-lease", "kube-public", "kube-system"];
    assert_eq!(names, expected.map(|name| format!("namespace/{name}")));
    let leases = kubectl
        .run(&["get", "leases", "-n", "kube-node-lease"])
        .await;
    let mut lines = leases
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["NAME", "HOLDER", "AGE"]);
    assert_eq!(lines.next().unwrap()[..2], ["local", "local"]);
    stage
        .create::<Pod>(pod("guest", &json!({}), &json!({})))
        .await;
    stage.until("guest", is_ready()).await;
    let described = kubectl.run(&["describe", "node", "local"]).await;
    for line in [
        "Unschedulable:      false",
        "HolderIdentity:  local",
        "KubeletHasSufficientMemory",
        "Kubelet Version:            v1.33.0",
        "Non-terminated Pods:          (1 in total)",
    ] {
        assert!(described.contains(line), "{line}: {described}");
    }
    kubectl.run(&["cordon", "local"]).await;
    let listed = kubectl.run(&["get", "nodes"]).await;
    assert!(listed.contains("Ready,SchedulingDisabled"), "{listed}");
    kubectl.run(&["uncordon", "local"]).await;
    stage.shutdown().await;
}
