//! Disruption budgets, evictions and `kubectl drain`.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{DEADLINE, TestCluster, deployment, typed};
use crate::kubectl::Kubectl;

/// A cluster with ready pods of one Deployment, and their names.
async fn with_pods(replicas: i32) -> (TestCluster, Vec<String>) {
    let test = TestCluster::start().await;
    let deployments: Api<Deployment> = test.api();
    let web = typed(deployment("web", replicas));
    deployments
        .create(&PostParams::default(), &web)
        .await
        .unwrap();
    test.wait_for_deployment("web", |web| {
        let status = web.status.as_ref();
        status.is_some_and(|status| status.replicas == Some(replicas))
    })
    .await;
    test.make_ready("app=web").await;
    let pods = test
        .api::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let names = pods.iter().map(ResourceExt::name_any).collect();
    (test, names)
}

async fn budget(test: &TestCluster, name: &str, limit: &Value) {
    let mut spec = limit.clone();
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    let budget = typed(json!({"metadata": {"name": name}, "spec": spec}));
    let budgets: Api<PodDisruptionBudget> = test.api();
    budgets
        .create(&PostParams::default(), &budget)
        .await
        .unwrap();
}

async fn wait_for_budget(test: &TestCluster, allowed: i32) {
    let condition = |budget: Option<&PodDisruptionBudget>| {
        let status = budget.and_then(|budget| budget.status.as_ref());
        status.is_some_and(|status| {
            status.observed_generation.is_some() && status.disruptions_allowed == allowed
        })
    };
    let budgets = test.api::<PodDisruptionBudget>();
    let waiting = kube::runtime::wait::await_condition(budgets, "web", condition);
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("the budget was not computed in time")
        .unwrap();
}

/// A client which takes a refusal for an answer: kube-rs asks again for minutes.
async fn pods_asked_once(test: &TestCluster) -> Api<Pod> {
    let kubeconfig = Kubeconfig::from_yaml(&test.cluster.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.unwrap();
    config.default_retry = false;
    Api::namespaced(Client::try_from(config).unwrap(), "default")
}

async fn refusal(test: &TestCluster, pod: &str) -> kube::core::Status {
    let pods = pods_asked_once(test).await;
    match pods.evict(pod, &EvictParams::default()).await {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("expected an API error, got {other:?}"),
    }
}

#[tokio::test]
async fn a_budget_lets_only_so_many_pods_go() {
    let (test, names) = with_pods(3).await;
    budget(&test, "web", &json!({"maxUnavailable": "34%"})).await;
    wait_for_budget(&test, 2).await;
    let pods: Api<Pod> = test.api();
    let dry_run = EvictParams {
        post_options: PostParams {
            dry_run: true,
            ..PostParams::default()
        },
        ..EvictParams::default()
    };
    pods.evict(&names[0], &dry_run).await.unwrap();
    assert!(pods.get_opt(&names[0]).await.unwrap().is_some());
    for name in &names[..2] {
        pods.evict(name, &EvictParams::default()).await.unwrap();
    }
    let refused = refusal(&test, &names[2]).await;
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (429, "TooManyRequests")
    );
    let details = refused.details.unwrap();
    assert_eq!(details.causes[0].reason, "DisruptionBudget");
    // The Deployment has replaced them; once they are ready, others may go.
    wait_for_budget(&test, 0).await;
    test.wait_for_deployment("web", |web| {
        let status = web.status.as_ref();
        status.is_some_and(|status| status.replicas == Some(3))
    })
    .await;
    test.make_ready("app=web").await;
    wait_for_budget(&test, 2).await;
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn two_budgets_for_a_pod_cannot_be_judged() {
    let (test, names) = with_pods(1).await;
    budget(&test, "one", &json!({"minAvailable": 0})).await;
    budget(&test, "two", &json!({"minAvailable": 0})).await;
    let refused = refusal(&test, &names[0]).await;
    assert_eq!(refused.code, 500);
    assert!(
        refused.message.contains("more than one"),
        "{}",
        refused.message
    );
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn an_unready_pod_may_go_when_enough_others_are_ready() {
    let (test, names) = with_pods(2).await;
    budget(&test, "web", &json!({"minAvailable": 1})).await;
    wait_for_budget(&test, 1).await;
    let pods: Api<Pod> = test.api();
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let params = PatchParams::default();
    pods.patch_status(&names[0], &params, &Patch::Merge(&unready))
        .await
        .unwrap();
    wait_for_budget(&test, 0).await;
    assert_eq!(refusal(&test, &names[1]).await.code, 429);
    pods.evict(&names[0], &EvictParams::default())
        .await
        .unwrap();
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn a_budget_that_makes_no_sense_is_refused() {
    let test = TestCluster::start().await;
    let budgets: Api<PodDisruptionBudget> = test.api();
    let cases = [
        (json!({"minAvailable": 1, "maxUnavailable": 1}), "spec"),
        (json!({"minAvailable": -1}), "spec.minAvailable"),
        (json!({"maxUnavailable": "101%"}), "spec.maxUnavailable"),
        (json!({"maxUnavailable": "some"}), "spec.maxUnavailable"),
        (
            json!({"unhealthyPodEvictionPolicy": "Never"}),
            "spec.unhealthyPodEvictionPolicy",
        ),
    ];
    for (spec, field) in cases {
        let budget = typed(json!({"metadata": {"name": "b"}, "spec": spec}));
        match budgets.create(&PostParams::default(), &budget).await {
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, 422);
                assert_eq!(status.details.unwrap().causes[0].field, field);
            }
            other => panic!("expected an API error, got {other:?}"),
        }
    }
    test.cluster.shutdown().await;
}

#[tokio::test]
async fn kubectl_creates_shows_and_respects_budgets() {
    let (test, names) = with_pods(2).await;
    let Some(kubectl) = Kubectl::find(&test.cluster.kubeconfig()).await else {
        return test.cluster.shutdown().await;
    };
    let create = "create pdb web --selector=app=web --min-available=2";
    kubectl.run(&create.split(' ').collect::<Vec<_>>()).await;
    wait_for_budget(&test, 0).await;
    let shown = kubectl.run(&["get", "pdb"]).await;
    let mut lines = shown.lines();
    assert_eq!(
        lines
            .next()
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE"
    );
    let row: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["web", "2", "N/A", "0"]);
    kubectl.run(&["describe", "pdb", "web"]).await;

    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "local"}});
    let file = test.write("node.yaml", &node.to_string());
    kubectl.run(&["apply", "-f", file.to_str().unwrap()]).await;
    let pods: Api<Pod> = test.api();
    let bound = Patch::Merge(json!({"spec": {"nodeName": "local"}}));
    for name in &names {
        let params = PatchParams::default();
        pods.patch(name, &params, &bound).await.unwrap();
    }
    let drain = [
        "drain",
        "local",
        "--ignore-daemonsets",
        "--force",
        "--timeout=3s",
    ];
    let refused = kubectl.fail(&drain).await;
    assert!(refused.contains("disruption budget"), "{refused}");
    assert!(
        pods.get(&names[0])
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_none()
    );
    kubectl.run(&["delete", "pdb", "web"]).await;
    // Without a kubelet nobody ends a pod that has a grace period.
    let at_once = [
        "drain",
        "local",
        "--force",
        "--grace-period=0",
        "--timeout=20s",
    ];
    let drained = kubectl.run(&at_once).await;
    assert!(drained.contains("node/local drained"), "{drained}");
    for name in &names {
        assert!(pods.get_opt(name).await.unwrap().is_none());
    }
    test.cluster.shutdown().await;
}
