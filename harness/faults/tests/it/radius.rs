//! What a plan says of the least that stays ready, and that this is what the net is asked about.

use holdfast_engine::FaultDriver;
use holdfast_faults::KubeFaults;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::cluster::{NAMESPACE, RUN, TestCluster, fault_of};

/// What a fault leaves of each of its targets, where it may take everything.
async fn left(test: &TestCluster, fault: &Value) -> Vec<String> {
    let fault = fault_of(serde_json::from_value(fault.clone()).unwrap());
    let targets = test.faults().plan(&fault).await.unwrap().targets;
    let words = targets
        .iter()
        .map(|target| format!("{}: {} of {}", target.what, target.left, target.pods.len()));
    words.collect()
}

/// The words with which it is refused where it may not.
async fn refusal(test: &TestCluster, fault: &Value) -> String {
    let fault = fault_of(serde_json::from_value(fault.clone()).unwrap());
    let faults = KubeFaults::start(test.client.clone(), NAMESPACE, RUN, "", &[]);
    faults.check(&fault).await.unwrap_err().0
}

/// Ready pods that are replaced as `strategy` says.
async fn create_with(test: &TestCluster, name: &str, replicas: i32, strategy: Value) {
    test.create::<Deployment>(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "strategy": strategy,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "pay:1"}]},
            },
        },
    }))
    .await;
    test.make_ready(name, replicas).await;
    test.create_service(name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_leaves_what_its_strategy_keeps() {
    let test = TestCluster::start().await;
    let half = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "50%"}});
    create_with(&test, "half", 4, half).await;
    create_with(&test, "usual", 2, json!({})).await;
    create_with(&test, "none", 2, json!({"type": "Recreate"})).await;
    test.create::<ConfigMap>(json!({"metadata": {"name": "prices"}, "data": {"a": "1"}}))
        .await;
    for (name, kept) in [("half", "2 of 4"), ("usual", "2 of 2"), ("none", "0 of 2")] {
        let target = format!("deployment {name}: {kept}");
        for fault in [
            json!({"rollout": {"deployment": name, "restart": true}}),
            json!({"rollout": {"deployment": name, "setEnv": {"A": "1"}}}),
            json!({"configChange": {"configMap": "prices", "set": {"a": "2"}, "restart": [name]}}),
        ] {
            assert_eq!(left(&test, &fault).await.join(", "), target, "{fault}");
        }
        let caller = json!({"deployment": name, "env": "USUAL_URL"});
        let fault = json!({"throttle": {"service": "usual", "from": caller, "delay": "1s"}});
        let service = format!("service usual for deployment {name}: 2 of 2");
        assert_eq!(left(&test, &fault).await, [service, target], "{fault}");
    }
    let restart = json!({"rollout": {"deployment": "none", "restart": true}});
    let words = "the fault leaves 0 of 2 ready pods of deployment none;";
    let refused = refusal(&test, &restart).await;
    assert!(refused.starts_with(words), "{refused}");
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_may_take_all_but_its_fewest() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 6).await;
    for (fewest, most, kept) in [(1, 1, 1), (1, 10, 1), (3, 4, 3), (8, 9, 6)] {
        let hpa = json!({
            "deployment": "pay", "minReplicas": fewest, "maxReplicas": most, "cpu": 50,
        });
        let fault = json!({"hpa": {"create": hpa}});
        let target = format!("deployment pay: {kept} of 6");
        assert_eq!(left(&test, &fault).await, [target]);
    }
    let hpa = json!({"deployment": "pay", "minReplicas": 1, "maxReplicas": 9, "cpu": 50});
    let refused = refusal(&test, &json!({"hpa": {"create": hpa}})).await;
    let words = "the fault leaves 1 of 6 ready pods of deployment pay;";
    assert!(refused.starts_with(words), "{refused}");
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_answers_nobody_takes_the_service_away() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    test.create_service("pay").await;
    for (harm, kept) in [
        (json!({"delay": "1s", "errors": 60, "abort": 39}), 2),
        (json!({"errors": 60, "abort": 40}), 0),
        (json!({"abort": 100}), 0),
        (json!({"blackhole": true}), 0),
    ] {
        let mut throttle = harm.clone();
        throttle["service"] = json!("pay");
        let fault = json!({"throttle": throttle});
        let target = format!("service pay: {kept} of 2");
        assert_eq!(left(&test, &fault).await, [target], "{harm}");
        if kept == 0 {
            let words = "the fault leaves 0 of 2 ready pods of service pay;";
            let refused = refusal(&test, &fault).await;
            assert!(refused.starts_with(words), "{refused}");
        }
    }
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_held_to_each_workload_that_it_takes_pods_of() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    for name in ["full", "open"] {
        test.create_targets(name).await;
    }
    let drain = json!({"nodeDrain": {"node": "full"}});
    assert_eq!(left(&test, &drain).await, ["deployment full: 0 of 2"]);
    let refused = refusal(&test, &drain).await;
    let words = "the fault leaves 0 of 2 ready pods of deployment full;";
    assert!(refused.starts_with(words), "{refused}");
    test.shutdown().await;
}
