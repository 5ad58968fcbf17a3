//! Each kind of fault that needs no running pod: what it changes, its evidence, and that everything
//! is as before afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::Fault;
use holdfast_core::plan::PlannedFault;
use holdfast_engine::FaultDriver;
use holdfast_faults::{FaultInjection, KubeFaults, Phase, RUN_LABEL};
use http::Method;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::catalogue::{catalogue, step};
use crate::cluster::{NAMESPACE, RUN, TestCluster, fault_of, in_time, state};

fn parse(fault: Value) -> Fault {
    serde_json::from_value(fault).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_selects_nobody_and_then_its_pods_again() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    test.create_service("pay").await;
    let before = state::<Service>(&test, "pay").await;
    let faults = test.faults();
    let down = fault_of(parse(json!({"serviceDown": {"service": "pay"}})));

    faults.prepare(&down).await.unwrap();
    let evidence = in_time(faults.inject(&down)).await.unwrap();
    assert!(
        evidence.ends_with("service pay has no endpoint"),
        "{evidence}"
    );
    let evidence = in_time(faults.recover(&down)).await.unwrap();
    assert!(
        evidence.ends_with("service pay has a ready endpoint"),
        "{evidence}"
    );
    assert_eq!(state::<Service>(&test, "pay").await, before);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_made_and_its_replicas_are_put_back() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    let before = state::<Deployment>(&test, "pay").await;
    let faults = test.faults();
    let hpa = json!({"deployment": "pay", "minReplicas": 1, "maxReplicas": 10, "cpu": 15});
    let scaling = fault_of(parse(json!({"hpa": {"create": hpa}})));

    faults.prepare(&scaling).await.unwrap();
    in_time(faults.inject(&scaling)).await.unwrap();
    let autoscalers = test.api::<HorizontalPodAutoscaler>();
    let made = autoscalers.get("pay").await.unwrap();
    assert_eq!(made.spec.unwrap().max_replicas, 10);
    test.set_replicas("pay", 7).await;
    in_time(faults.recover(&scaling)).await.unwrap();
    assert!(autoscalers.get_opt("pay").await.unwrap().is_none());
    assert_eq!(state::<Deployment>(&test, "pay").await, before);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_autoscaler_is_made_again_as_it_was() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    test.create::<HorizontalPodAutoscaler>(json!({
        "metadata": {"name": "pay", "labels": {"team": "payments"}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "pay"},
            "minReplicas": 2,
            "maxReplicas": 5,
        },
    }))
    .await;
    let before = state::<HorizontalPodAutoscaler>(&test, "pay").await;
    let faults = test.faults();
    let removal = fault_of(parse(json!({"hpa": {"remove": "pay"}})));

    faults.prepare(&removal).await.unwrap();
    in_time(faults.inject(&removal)).await.unwrap();
    let autoscalers = test.api::<HorizontalPodAutoscaler>();
    assert!(autoscalers.get_opt("pay").await.unwrap().is_none());
    in_time(faults.recover(&removal)).await.unwrap();
    assert_eq!(state::<HorizontalPodAutoscaler>(&test, "pay").await, before);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_and_images_are_set_and_put_back() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    let before = state::<Deployment>(&test, "pay").await;
    let faults = test.faults();
    let rollout = fault_of(parse(json!({"rollout": {
        "deployment": "pay", "setEnv": {"VERSION": "v2"}, "setImage": {"main": "pay:2"},
    }})));
    faults.prepare(&rollout).await.unwrap();
    in_time(faults.inject(&rollout)).await.unwrap();
    let changed = state::<Deployment>(&test, "pay").await;
    let container = &changed["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "pay:2");
    assert_eq!(
        container["env"],
        json!([{"name": "VERSION", "value": "v2"}])
    );

    let kubelet = test.kubelet();
    in_time(faults.recover(&rollout)).await.unwrap();
    drop(kubelet);
    assert_eq!(state::<Deployment>(&test, "pay").await, before);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_gets_its_values_back() {
    let test = TestCluster::start().await;
    test.create::<ConfigMap>(json!({
        "metadata": {"name": "prices"}, "data": {"chicken": "10000"},
    }))
    .await;
    let before = state::<ConfigMap>(&test, "prices").await;
    let faults = test.faults();
    let change = json!({"configMap": "prices", "set": {"chicken": "0", "beer": "1"}});
    let change = fault_of(parse(json!({"configChange": change})));
    faults.prepare(&change).await.unwrap();
    let evidence = in_time(faults.inject(&change)).await.unwrap();
    assert!(
        evidence.contains("data.chicken from 10000 to 0"),
        "{evidence}"
    );
    in_time(faults.recover(&change)).await.unwrap();
    assert_eq!(state::<ConfigMap>(&test, "prices").await, before);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_pods_are_gone_and_nothing_is_put_back() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 4).await;
    let before = test.pods("pay").await;
    let faults = test.faults();
    let kill = json!({"deployment": "pay", "count": "50%", "grace": "0s"});
    let kill = fault_of(parse(json!({"podKill": kill})));
    let undo = faults.prepare(&kill).await.unwrap();
    assert!(undo.starts_with("nothing to put back"), "{undo}");
    let evidence = in_time(faults.inject(&kill)).await.unwrap();
    assert!(evidence.starts_with("evicted pods pay-"), "{evidence}");
    let _kubelet = test.kubelet();
    assert_eq!(
        in_time(faults.recover(&kill)).await.unwrap(),
        "4 pods with app=pay are ready and none is on its way out"
    );
    let after = test.pods("pay").await;
    assert_eq!(after.iter().filter(|pod| before.contains(pod)).count(), 2);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_cannot_do_is_refused_by_name_and_reason() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    test.create::<ConfigMap>(json!({"metadata": {"name": "prices"}, "data": {"chicken": "1"}}))
        .await;
    let faults = test.faults();
    for (fault, words) in [
        (
            json!({"scale": {"deployment": "pay", "replicas": 2}}),
            "the fault changes nothing: in deployment pay, spec.replicas is 2 already",
        ),
        (
            json!({"rollout": {"deployment": "pay", "setImage": {"main": "pay:1"}}}),
            "the fault changes nothing: in deployment pay, \
             spec.template.spec.containers[name=main].image is pay:1 already",
        ),
        (
            json!({"configChange": {"configMap": "prices", "set": {"chicken": "1"}}}),
            "the fault changes nothing: in configmap prices, data.chicken is 1 already",
        ),
        (
            json!({"nodeDrain": {"node": "elsewhere"}}),
            "node default/elsewhere does not exist",
        ),
        (
            json!({"hpa": {"remove": "pay"}}),
            "horizontalpodautoscaler default/pay does not exist",
        ),
        (
            json!({"rollout": {"deployment": "pay", "setImage": {"app": "app:2"}}}),
            "container app cannot be: changed, for there is none of that name; there are main",
        ),
        (
            json!({"serviceDown": {"service": "pay"}}),
            "service default/pay does not exist",
        ),
        (
            json!({"probeFlap": {"deployment": "pay", "count": 1, "down": "1s", "up": "1s"}}),
            "this cluster cannot do that: no container of deployment pay has a readinessProbe, so that \
             none of its pods would become unready; podFreeze stops them without that",
        ),
    ] {
        let refused = faults
            .check(&fault_of(parse(fault)), &[])
            .await
            .unwrap_err();
        assert_eq!(refused.0, words);
    }
    assert_eq!(test.records().await, Vec::<String>::new());
    let deployments = test.api::<Deployment>().list(&ListParams::default()).await;
    assert_eq!(deployments.unwrap().items[0].name_any(), "pay");
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_and_never_brought_about_changed_nothing() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    test.create::<ConfigMap>(json!({"metadata": {"name": "prices"}, "data": {"chicken": "10000"}}))
        .await;
    let before = test.api::<Deployment>().get("pay").await.unwrap();
    let faults = test.faults();
    for fault in [
        json!({"podKill": {"deployment": "pay", "count": 1}}),
        json!({"configChange": {"configMap": "prices", "set": {"chicken": "0"}, "restart": ["pay"]}}),
    ] {
        let fault = fault_of(parse(fault));
        faults.prepare(&fault).await.unwrap();
        let evidence = in_time(faults.recover(&fault)).await.unwrap();
        assert_eq!(evidence, "nothing was changed");
    }
    let after = test.api::<Deployment>().get("pay").await.unwrap();
    assert_eq!(after.metadata.generation, before.metadata.generation);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_kills_no_pod_in_place_of_another() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 4).await;
    let before = test.pods("pay").await;
    let (evicted, lost) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let was_lost = Arc::clone(&lost);
    // After the deed the word of it is lost, as if the controller had ended in between.
    let client = test.watched_client(move |request| {
        let path = request.uri().path();
        if request.method() == Method::POST && path.ends_with("/eviction") {
            evicted.store(true, Ordering::SeqCst);
        }
        !(path.ends_with("/status")
            && evicted.load(Ordering::SeqCst)
            && !lost.swap(true, Ordering::SeqCst))
    });
    let faults = test.faults_of(RUN, client);
    let kill = json!({"deployment": "pay", "count": 1, "grace": "0s"});
    let kill = fault_of(parse(json!({"podKill": kill})));
    faults.prepare(&kill).await.unwrap();
    let evidence = in_time(faults.inject(&kill)).await.unwrap();
    assert!(was_lost.load(Ordering::SeqCst));
    assert!(
        evidence.contains("an earlier attempt evicted them"),
        "{evidence}"
    );
    let after = test.pods("pay").await;
    assert_eq!(before.iter().filter(|pod| after.contains(pod)).count(), 3);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_the_nets_refuse_are_left_out_and_told() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 4).await;
    let before = test.pods("pay").await;
    let faults = KubeFaults::start(test.client.clone(), NAMESPACE, RUN, "", &[]);
    let kill = json!({"deployment": "pay", "count": 2, "grace": "0s", "every": "1s"});
    let kill = fault_of(parse(json!({"podKill": kill})));
    faults.prepare(&kill).await.unwrap();
    in_time(faults.inject(&kill)).await.unwrap();
    let refused = |found: Option<&FaultInjection>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| status.error.is_some())
    };
    let objects = test.api::<FaultInjection>();
    let told = in_time(await_condition(objects, "run-1-outage", refused)).await;
    let error = told.unwrap().unwrap().status.unwrap().error.unwrap();
    let words = "the fault leaves 0 of 4 ready pods of deployment pay";
    assert!(error.starts_with(words), "{error}");
    let after = test.pods("pay").await;
    assert_eq!(before.iter().filter(|pod| after.contains(pod)).count(), 2);

    let _kubelet = test.kubelet();
    let evidence = in_time(faults.recover(&kill)).await.unwrap();
    assert!(evidence.starts_with("evicted pods pay-"), "{evidence}");
    assert!(
        evidence.contains(&format!("a round was left out: {words}")),
        "{evidence}"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_made_under_the_name_stays() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    let faults = test.faults();
    let hpa = json!({"deployment": "pay", "minReplicas": 1, "maxReplicas": 10, "cpu": 15});
    let scaling = fault_of(parse(json!({"hpa": {"create": hpa}})));
    faults.prepare(&scaling).await.unwrap();
    test.create::<HorizontalPodAutoscaler>(json!({
        "metadata": {"name": "pay", "labels": {RUN_LABEL: RUN.to_lowercase()}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "pay"},
            "maxReplicas": 5,
        },
    }))
    .await;
    let refused = in_time(faults.inject(&scaling)).await.unwrap_err();
    assert_eq!(
        refused.0,
        "horizontalpodautoscaler pay already exists and is not ours"
    );
    in_time(faults.recover(&scaling)).await.unwrap();
    let theirs = test
        .api::<HorizontalPodAutoscaler>()
        .get("pay")
        .await
        .unwrap();
    assert_eq!(theirs.spec.unwrap().max_replicas, 5);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_no_pods_is_not_drained() {
    let test = TestCluster::start().await;
    let nodes = Api::<Node>::all(test.client.clone());
    for (name, unschedulable) in [("open", false), ("closed", true)] {
        let node = json!({"metadata": {"name": name}, "spec": {"unschedulable": unschedulable}});
        let node = serde_json::from_value(node).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
    }
    let drain = fault_of(parse(json!({"nodeDrain": {"node": "closed"}})));
    let refused = test.faults().check(&drain, &[]).await.unwrap_err();
    assert_eq!(
        refused.0,
        "node closed cannot be: drained, for it takes no pods already"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_takes_no_pod_that_nobody_would_replace() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    for name in ["full", "open"] {
        test.create_targets(name).await;
    }
    let drain = fault_of(parse(json!({"nodeDrain": {"node": "full"}})));
    test.faults().check(&drain, &[]).await.unwrap();
    test.create::<Pod>(json!({
        "metadata": {"name": "alone"},
        "spec": {"nodeName": "full", "containers": [{"name": "main", "image": "pay:1"}]},
    }))
    .await;
    let refused = test.faults().check(&drain, &[]).await.unwrap_err();
    assert_eq!(
        refused.0,
        "nobody would replace pod alone on node full, for no controller made them; \
         delete or move them first, as kubectl drain asks for"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_leaves_the_agents_of_other_faults_where_they_are() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    for name in ["full", "open"] {
        test.create_targets(name).await;
    }
    let pressure = PlannedFault {
        name: "pressure".to_owned(),
        ..fault_of(parse(
            json!({"cpuPressure": {"deployment": "full", "workers": 1, "load": 9}}),
        ))
    };
    let faults = test.faults();
    faults.prepare(&pressure).await.unwrap();
    in_time(faults.inject(&pressure)).await.unwrap();
    let before = test.pods("full").await;
    let drain = fault_of(parse(json!({"nodeDrain": {"node": "full"}})));
    faults.prepare(&drain).await.unwrap();
    let evidence = in_time(faults.inject(&drain)).await.unwrap();
    assert!(!evidence.contains("holdfast-"), "{evidence}");
    assert!(
        test.pods("full")
            .await
            .iter()
            .all(|pod| !before.contains(pod))
    );
    let agents = ListParams::default().labels(RUN_LABEL);
    let agents = test.api::<Pod>().list(&agents).await.unwrap();
    assert_eq!(agents.items.len(), 1);
    for step in [&drain, &pressure] {
        in_time(faults.recover(step)).await.unwrap();
    }
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_pods_is_not_drained() {
    let test = TestCluster::start().await;
    let nodes = Api::<Node>::all(test.client.clone());
    for name in ["empty", "open"] {
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
    }
    let drain = fault_of(parse(json!({"nodeDrain": {"node": "empty"}})));
    let refused = test.faults().check(&drain, &[]).await.unwrap_err();
    assert_eq!(
        refused.0,
        "the fault changes nothing: node empty has no pod of namespace default to evict"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_do_no_more_than_its_mode_needs() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    let faults = test.faults();
    for (name, sees_all, capabilities) in [
        ("cpu", None, Value::Null),
        ("memory", None, Value::Null),
        ("throttle", None, Value::Null),
        (
            "freeze",
            Some(true),
            json!({"drop": ["ALL"], "add": ["KILL"]}),
        ),
        (
            "disk",
            Some(true),
            json!({"drop": ["ALL"], "add": ["SYS_PTRACE", "DAC_OVERRIDE"]}),
        ),
    ] {
        test.create_targets(name).await;
        let mut catalogue = catalogue().into_iter();
        let step = step(&catalogue.find(|row| row.0 == name).unwrap());
        faults.prepare(&step).await.unwrap();
        in_time(faults.inject(&step)).await.unwrap();
        let agents = ListParams::default().labels(RUN_LABEL);
        let agents = test.api::<Pod>().list(&agents).await.unwrap();
        let spec = agents.items[0].spec.clone().unwrap();
        assert_eq!(spec.host_pid, sees_all, "{name}");
        let may = serde_json::to_value(&spec.containers[0].security_context).unwrap();
        assert_eq!(may["capabilities"], capabilities, "{name}");
        assert_eq!(may["privileged"], Value::Null, "{name}");
        in_time(faults.recover(&step)).await.unwrap();
    }
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_the_pods_that_its_plan_named() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 6).await;
    let faults = test.faults();
    let kill = json!({"deployment": "pay", "count": 2, "grace": "0s"});
    let kill = fault_of(parse(json!({"podKill": kill})));
    let mut planned = Vec::new();
    for _ in 0..4 {
        let effect = faults.plan(&kill, &[]).await.unwrap();
        let deed = effect.actions[1].strip_prefix("evict ").unwrap();
        planned.push(deed.replace(" with 0 s of grace", ""));
    }
    faults.prepare(&kill).await.unwrap();
    let evidence = in_time(faults.inject(&kill)).await.unwrap();
    planned.dedup();
    assert_eq!(planned, [evidence.strip_prefix("evicted ").unwrap()]);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_evicts_no_pod_whose_budget_has_nothing_to_spare() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    for name in ["full", "open"] {
        test.create_targets(name).await;
    }
    test.create::<PodDisruptionBudget>(json!({
        "metadata": {"name": "full"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "full"}}},
    }))
    .await;
    let pods = test.pods("full").await;
    let before = test.targets("full").await;
    let faults = test.faults();
    let drain = PlannedFault {
        // Later than the budget is given up, which takes 40 s.
        end: Duration::from_secs(120),
        ..fault_of(parse(json!({"nodeDrain": {"node": "full"}})))
    };
    faults.prepare(&drain).await.unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(60), faults.inject(&drain)).await;
    let refused = refused.unwrap().unwrap_err();
    let words = "it was undone early: the eviction of pod full-";
    assert!(refused.0.starts_with(words), "{refused}");
    let why = "The disruption budget full needs 2 healthy pods and has 2 currently";
    assert!(refused.0.ends_with(why), "{refused}");
    assert_eq!(test.pods("full").await, pods);
    in_time(faults.recover(&drain)).await.unwrap();
    assert_eq!(test.pods("full").await, pods);
    assert_eq!(test.targets("full").await, before);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

/// Protects pods of the Deployment `pay` from now on, and waits until so many of them may go.
async fn protect(test: &TestCluster, may_go: i32) {
    test.create::<PodDisruptionBudget>(json!({
        "metadata": {"name": "pay"},
        "spec": {"maxUnavailable": may_go, "selector": {"matchLabels": {"app": "pay"}}},
    }))
    .await;
    let computed = |found: Option<&PodDisruptionBudget>| {
        let status = found.and_then(|found| found.status.as_ref());
        status
            .is_some_and(|status| status.disruptions_allowed == may_go && status.expected_pods > 0)
    };
    let budgets = test.api::<PodDisruptionBudget>();
    in_time(await_condition(budgets, "pay", computed))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_its_budget_protects_by_now_ends_a_kill_unless_budgets_are_not_asked() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 4).await;
    let before = test.pods("pay").await;
    let kill = json!({"deployment": "pay", "count": 1, "grace": "0s"});
    let kill = fault_of(parse(json!({"podKill": kill})));
    let faults = test.faults();
    faults.prepare(&kill).await.unwrap();
    protect(&test, 0).await;
    let refused = in_time(faults.inject(&kill)).await.unwrap_err();
    let words = "it was undone early: the eviction of pod pay-";
    assert!(refused.0.starts_with(words), "{refused}");
    let why = "refused: The disruption budget pay needs 4 healthy pods and has 4 currently";
    assert!(refused.0.ends_with(why), "{refused}");
    // It is over, and does not come when the budget has something to spare.
    let over = |found: Option<&FaultInjection>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| status.phase == Phase::Reverted)
    };
    let objects = test.api::<FaultInjection>();
    let name = objects.list(&ListParams::default()).await.unwrap().items[0].name_any();
    in_time(await_condition(objects, &name, over))
        .await
        .unwrap();
    in_time(faults.recover(&kill)).await.unwrap();
    assert_eq!(test.pods("pay").await, before);
    faults.end().await;

    let client = test.client.clone();
    let faults = KubeFaults::start(client, NAMESPACE, "Run-2", "", &[SafetyNet::Pdb]);
    faults.prepare(&kill).await.unwrap();
    let evidence = in_time(faults.inject(&kill)).await.unwrap();
    assert!(evidence.starts_with("deleted pod pay-"), "{evidence}");
    let after = test.pods("pay").await;
    assert_eq!(before.iter().filter(|pod| after.contains(pod)).count(), 3);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_two_budgets_cover_is_refused_before_a_run() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 4).await;
    protect(&test, 2).await;
    let kill = fault_of(parse(json!({"podKill": {"deployment": "pay", "count": 1}})));
    test.faults().check(&kill, &[]).await.unwrap();
    test.create::<PodDisruptionBudget>(json!({
        "metadata": {"name": "everybody"},
        "spec": {"maxUnavailable": 2, "selector": {}},
    }))
    .await;
    let refused = test.faults().check(&kill, &[]).await.unwrap_err();
    let words = "is covered by two disruption budgets, everybody and pay, and the eviction API evicts no such pod";
    assert!(refused.0.ends_with(words), "{refused}");
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_kill_spares_what_a_budget_protects_and_says_so() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_targets("pay").await;
    test.set_replicas("pay", 4).await;
    test.settled("pay", 4).await;
    let kill = json!({"deployment": "pay", "count": 2, "grace": "0s", "every": "1s"});
    let kill = fault_of(parse(json!({"podKill": kill})));
    let faults = test.faults();
    faults.prepare(&kill).await.unwrap();
    protect(&test, 1).await;
    let evidence = in_time(faults.inject(&kill)).await.unwrap();
    assert!(evidence.starts_with("evicted pod pay-"), "{evidence}");
    let spared =
        "a disruption budget spared 1 of 2: The disruption budget pay needs 3 healthy pods";
    assert!(evidence.contains(spared), "{evidence}");
    let again = |found: Option<&FaultInjection>| {
        let status = found.and_then(|found| found.status.as_ref());
        let evidence = status.and_then(|status| status.evidence.as_ref());
        evidence.is_some_and(|evidence| evidence.matches(spared).count() > 1)
    };
    let objects = test.api::<FaultInjection>();
    in_time(await_condition(objects, "run-1-outage", again))
        .await
        .unwrap();
    in_time(faults.recover(&kill)).await.unwrap();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_that_could_compute_nothing_is_refused() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    let container = |name: &str, resources: Value| json!({"name": name, "image": "pay:1", "resources": resources});
    let asking = container("main", json!({"requests": {"cpu": "100m"}}));
    let silent = container("proxy", json!({"requests": {"memory": "1Mi"}}));
    for (name, containers) in [
        ("some", json!([asking.clone(), silent])),
        ("all", json!([asking])),
    ] {
        test.create::<Deployment>(json!({
            "metadata": {"name": name},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": containers},
                },
            },
        }))
        .await;
        test.settled(name, 2).await;
    }
    let scaling = |name: &str| {
        let hpa = json!({"deployment": name, "minReplicas": 2, "maxReplicas": 9, "cpu": 50});
        fault_of(parse(json!({"hpa": {"create": hpa}})))
    };
    let refused = test
        .faults()
        .check(&scaling("some"), &[])
        .await
        .unwrap_err();
    assert_eq!(
        refused.0,
        "this cluster cannot do that: container proxy of deployment some requests no CPU \
         (resources.requests.cpu), so that an autoscaler cannot tell how much of it is used"
    );
    test.faults().check(&scaling("all"), &[]).await.unwrap();
    let unmeasured = test.refused_client(|request| {
        let is_asked = request.uri().path().starts_with("/apis/metrics.k8s.io");
        is_asked.then_some((404, "the server could not find the requested resource"))
    });
    let faults = test.faults_of("Run-2", unmeasured);
    let refused = faults.check(&scaling("all"), &[]).await.unwrap_err();
    assert_eq!(
        refused.0,
        "this cluster cannot do that: it does not serve metrics.k8s.io/v1beta1, by which an autoscaler \
         learns what pods use; metrics-server does"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fault_will_make_is_tried_before_the_run_and_not_stored() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    let count = async || {
        let pods = test.api::<Pod>().list(&ListParams::default()).await;
        let services = test.api::<Service>().list(&ListParams::default()).await;
        let autoscalers = test.api::<HorizontalPodAutoscaler>();
        let autoscalers = autoscalers.list(&ListParams::default()).await;
        let (pods, services) = (pods.unwrap().items, services.unwrap().items);
        (pods.len(), services.len(), autoscalers.unwrap().items.len())
    };
    for (name, made) in [
        ("freeze", "pod holdfast-run-1-freeze-0"),
        ("throttle", "service holdfast-run-1-throttle-pods"),
        ("hpa-made", "horizontalpodautoscaler hpa-made"),
    ] {
        test.create_targets(name).await;
        let mut catalogue = catalogue().into_iter();
        let step = step(&catalogue.find(|row| row.0 == name).unwrap());
        let there = count().await;
        test.faults().check(&step, &[]).await.unwrap();
        assert_eq!(count().await, there, "{name}");
        // What an admission plugin says no to in a dry run.
        let strict = test.refused_client(|request| {
            let query = request.uri().query().unwrap_or_default();
            let is_tried = request.method() == Method::POST && query.contains("dryRun=All");
            is_tried.then_some((403, "violates PodSecurity \"restricted:latest\""))
        });
        let refused = test
            .faults_of(RUN, strict)
            .check(&step, &[])
            .await
            .unwrap_err();
        let words = format!(
            "cannot create {made}, tried as a dry run: violates PodSecurity \"restricted:latest\""
        );
        assert!(refused.0.starts_with(&words), "{refused}");
    }
    test.shutdown().await;
}
