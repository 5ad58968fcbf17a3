//! What a plan says of the least that stays ready, and that this is what the net is asked about.

use std::time::Duration;

use holdfast_core::experiment::SafetyNet;
use holdfast_core::plan::PlannedFault;
use holdfast_engine::FaultDriver;
use holdfast_faults::{FaultInjection, KubeFaults};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::cluster::{NAMESPACE, RUN, TestCluster, fault_of, in_time};
use crate::controller::{by_hand, in_seconds};

/// What a fault leaves of each of its targets, where it may take everything.
async fn left(test: &TestCluster, fault: &Value) -> Vec<String> {
    let fault = fault_of(serde_json::from_value(fault.clone()).unwrap());
    let targets = test.faults().plan(&fault, &[]).await.unwrap().targets;
    let words = targets
        .iter()
        .map(|target| format!("{}: {} of {}", target.what, target.left, target.pods.len()));
    words.collect()
}

/// The words with which it is refused where it may not.
async fn refusal(test: &TestCluster, fault: &Value) -> String {
    let fault = fault_of(serde_json::from_value(fault.clone()).unwrap());
    careful(test).check(&fault, &[]).await.unwrap_err().0
}

/// The driver of a run that switches no net off.
fn careful(test: &TestCluster) -> KubeFaults {
    KubeFaults::start(test.client.clone(), NAMESPACE, RUN, "", &[])
}

/// A step by its name.
fn step(name: &str, fault: Value) -> PlannedFault {
    PlannedFault {
        name: name.to_owned(),
        ..fault_of(serde_json::from_value(fault).unwrap())
    }
}

fn scale(deployment: &str, replicas: u32) -> PlannedFault {
    let scale = json!({"deployment": deployment, "replicas": replicas});
    step("scale", json!({"scale": scale}))
}

fn kill(deployment: &str, count: u32) -> PlannedFault {
    let kill = json!({"deployment": deployment, "count": count});
    step("kill", json!({"podKill": kill}))
}

/// Four pods that are replaced one by one.
async fn create_four(test: &TestCluster, name: &str) {
    let one = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    create_with(test, name, 4, one).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_are_in_effect_together_are_added_up() {
    let test = TestCluster::start().await;
    create_four(&test, "pay").await;
    let run = careful(&test);
    let rollout = json!({"rollout": {"deployment": "pay", "setEnv": {"A": "1"}}});
    let rollout = step("rollout", rollout);
    run.prepare(&scale("pay", 3)).await.unwrap();
    run.prepare(&kill("pay", 1)).await.unwrap();
    let objects = test.api::<FaultInjection>();
    let object = objects.get("run-1-scale").await.unwrap();
    let status = serde_json::to_value(object.status).unwrap();
    assert_eq!(
        status["targets"],
        json!([{"what": "deployment pay", "ready": 4, "left": 3}])
    );
    let refused = run.prepare(&rollout).await.unwrap_err();
    let words = "the fault leaves 1 of 4 ready pods of deployment pay \
                 together with the fault run-1-kill and the fault run-1-scale; more than half,";
    assert!(refused.0.starts_with(words), "{refused}");
    run.recover(&rollout).await.unwrap();
    run.recover(&scale("pay", 3)).await.unwrap();
    run.prepare(&rollout).await.unwrap();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_faults_at_the_same_time_one_counts_the_other() {
    let test = TestCluster::start().await;
    let run = careful(&test);
    for name in ["one", "two", "three", "four", "five"] {
        create_four(&test, name).await;
        let (scale, kill) = (scale(name, 2), kill(name, 1));
        let (scaled, killed) = tokio::join!(run.prepare(&scale), run.prepare(&kill));
        assert!(scaled.is_ok() != killed.is_ok(), "{scaled:?}, {killed:?}");
        for fault in [&scale, &kill] {
            in_time(run.recover(fault)).await.unwrap();
        }
    }
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_counts_what_other_faults_take_by_then() {
    let test = TestCluster::start().await;
    create_four(&test, "pay").await;
    let _kubelet = test.kubelet();
    let run = careful(&test);
    let kill = json!({"deployment": "pay", "count": 1, "grace": "0s", "every": "1s"});
    let kill = step("kill", json!({"podKill": kill}));
    run.prepare(&kill).await.unwrap();
    in_time(run.inject(&kill)).await.unwrap();
    let mut outage = by_hand("outage", &in_seconds(600), None);
    outage.spec.run = RUN.to_owned();
    outage.spec.allow = vec![SafetyNet::BlastRadius];
    outage.spec.fault = scale("pay", 2).fault;
    test.apply(&outage).await;
    let refused = |found: Option<&FaultInjection>| {
        let status = found.and_then(|found| found.status.as_ref());
        let error = status.and_then(|status| status.error.as_deref());
        error.is_some_and(|error| error.contains("together with the fault outage"))
    };
    let objects = test.api::<FaultInjection>();
    let told = await_condition(objects, "run-1-kill", refused);
    in_time(told).await.unwrap();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_adds_up_the_faults_that_meet() {
    let test = TestCluster::start().await;
    create_four(&test, "pay").await;
    let run = careful(&test);
    let at = |start: u64, end: u64, fault: PlannedFault| PlannedFault {
        start: Duration::from_secs(start),
        end: Duration::from_secs(end),
        ..fault
    };
    let first = [at(10, 20, scale("pay", 2))];
    for start in [10, 15, 20] {
        let second = at(start, start, kill("pay", 1));
        let refused = run.check(&second, &first).await.unwrap_err();
        let words = "the fault leaves 1 of 4 ready pods of deployment pay \
                     together with the fault scale; more than half,";
        assert!(refused.0.starts_with(words), "{start}: {refused}");
    }
    let later = at(21, 21, kill("pay", 1));
    run.check(&later, &first).await.unwrap();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_takes_the_place_of_the_one_before() {
    let test = TestCluster::start().await;
    create_four(&test, "pay").await;
    let _kubelet = test.kubelet();
    let run = careful(&test);
    let kill = json!({"deployment": "pay", "count": 2, "grace": "0s", "every": "1s"});
    let kill = step("kill", json!({"podKill": kill}));
    run.prepare(&kill).await.unwrap();
    in_time(run.inject(&kill)).await.unwrap();
    let again = |found: Option<&FaultInjection>| {
        let status = found.and_then(|found| found.status.as_ref());
        let evidence = status.and_then(|status| status.evidence.as_deref());
        evidence.is_some_and(|evidence| evidence.matches("evicted pods").count() > 1)
    };
    let objects = test.api::<FaultInjection>();
    let told = await_condition(objects, "run-1-kill", again);
    in_time(told).await.unwrap();
    test.shutdown().await;
}
