//! The safety nets: what is refused before anything is touched.

use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_core::experiment::SafetyNet;
use holdfast_engine::{Because, FaultDriver};
use holdfast_faults::KubeFaults;
use http::Request;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::client::Body;
use kube::runtime::wait::await_condition;
use serde_json::json;

use crate::cluster::{NAMESPACE, RUN, TestCluster, fault_of, in_time, outage};

/// The words with which a fault of `replicas` is refused, if it is.
async fn refusal(faults: &KubeFaults, replicas: u32) -> Option<String> {
    let checked = faults.check(&outage(replicas), &[]).await;
    checked.err().map(|error| error.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_s_own_namespace_is_refused() {
    let test = TestCluster::start().await;
    let faults = KubeFaults::start(test.client.clone(), "kube-system", RUN, "", &[]);
    assert_eq!(
        refusal(&faults, 1).await.unwrap(),
        "nothing is broken in namespace kube-system: the cluster itself would be"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_answers_slowly_is_refused() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    test.make_ready("pay", 3).await;
    let client = test.client.clone();
    let slow = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            if request.uri().path().ends_with("/namespaces/default") {
                tokio::time::sleep(Duration::from_millis(1100)).await;
            }
            client.send(request).await
        }
    });
    let slow = Client::new(slow, NAMESPACE);
    let faults = KubeFaults::start(slow, NAMESPACE, RUN, "", &[]);
    let words = refusal(&faults, 2).await.unwrap();
    let told = words.strip_prefix("the cluster takes ");
    let told = told.and_then(|rest| rest.split_once(" s to answer for one object"));
    let (seconds, _) = told.unwrap_or_else(|| panic!("{words}"));
    assert!(seconds.parse::<f64>().unwrap() >= 1.1, "{words}");
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_refuses_nothing() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    for (code, because) in [
        (500, Because::Unanswered),
        (503, Because::Unanswered),
        (429, Because::Unanswered),
        (403, Because::Refused),
    ] {
        let client = test.refused_client(move |request| {
            let is_asked = request.uri().path().ends_with("/deployments/pay");
            is_asked.then_some((code, "etcdserver: no leader"))
        });
        let faults = KubeFaults::start(client, NAMESPACE, RUN, "", &[]);
        let error = faults.check(&outage(1), &[]).await.unwrap_err();
        let words = "cannot read deployment pay: etcdserver: no leader";
        assert!(error.0.starts_with(words), "{error}");
        assert_eq!(error.1, because, "{code}");
    }
    let (client, down) = test.failing_client();
    down.store(true, Ordering::SeqCst);
    let faults = KubeFaults::start(client, NAMESPACE, RUN, "", &[]);
    let error = faults.check(&outage(1), &[]).await.unwrap_err();
    assert_eq!(error.1, Because::Unanswered, "{error}");
    assert!(error.0.ends_with("connection refused"), "{error}");
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_available_is_refused() {
    let test = TestCluster::start().await;
    let faults = KubeFaults::start(test.client.clone(), NAMESPACE, RUN, "", &[]);
    assert_eq!(
        refusal(&faults, 1).await.unwrap(),
        "deployment default/pay does not exist"
    );
    test.create_deployment("pay", 2).await;
    assert_eq!(
        refusal(&faults, 1).await.unwrap(),
        "deployment pay has no available pod, so there is nothing to break"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_calls_itself_unavailable_is_refused_before_a_run_alone() {
    let test = TestCluster::start().await;
    let kubelet = test.kubelet();
    test.create_targets("pay").await;
    test.create_targets("elsewhere").await;
    let drain = fault_of(serde_json::from_value(json!({"nodeDrain": {"node": "pay"}})).unwrap());
    let faults = test.faults();
    faults.check(&outage(1), &[]).await.unwrap();
    faults.check(&drain, &[]).await.unwrap();
    // Two of four pods are missing, where a quarter may be.
    drop(kubelet);
    test.set_replicas("pay", 4).await;
    test.wait_until("pay", |deployment| {
        let status = deployment.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Available" && condition.status == "False")
    })
    .await;
    let words = "deployment pay is not available already before the fault, so nothing could be \
                 learnt from it: Deployment does not have minimum availability. To see why: \
                 kubectl describe deployment pay";
    assert_eq!(refusal(&faults, 1).await.unwrap(), words);
    assert_eq!(faults.check(&drain, &[]).await.unwrap_err().0, words);
    faults.prepare(&outage(1)).await.unwrap();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_half_of_the_pods_need_permission() {
    let test = TestCluster::start().await;
    let faults = KubeFaults::start(test.client.clone(), NAMESPACE, RUN, "", &[]);
    test.create_deployment("pay", 3).await;
    test.make_ready("pay", 3).await;
    assert_eq!(refusal(&faults, 2).await, None);
    assert_eq!(
        refusal(&faults, 1).await.unwrap(),
        "the fault leaves 1 of 3 ready pods of deployment pay; more than half, or the last one, needs safety.allow: [blastRadius] in the experiment"
    );
    assert!(refusal(&faults, 0).await.is_some());
    assert_eq!(refusal(&test.faults(), 0).await, None);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disruption_budget_is_respected_unless_it_is_switched_off() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 4).await;
    test.create::<PodDisruptionBudget>(json!({
        "metadata": {"name": "pay"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "pay"}}},
    }))
    .await;
    let permits = |found: Option<&PodDisruptionBudget>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| status.disruptions_allowed == 1)
    };
    let budgets = test.api::<PodDisruptionBudget>();
    in_time(await_condition(budgets, "pay", permits))
        .await
        .unwrap();

    let kill = |count: u32| {
        let kill = json!({"podKill": {"deployment": "pay", "count": count}});
        fault_of(serde_json::from_value(kill).unwrap())
    };
    test.faults().check(&kill(1), &[]).await.unwrap();
    let refused = test.faults().check(&kill(2), &[]).await.unwrap_err();
    assert_eq!(
        refused.0,
        "the fault takes 2 pods of the disruption budget pay, which permits 1 now; that needs safety.allow: [pdb] in the experiment"
    );
    let permitted = KubeFaults::start(test.client.clone(), NAMESPACE, RUN, "", &[SafetyNet::Pdb]);
    permitted.check(&kill(2), &[]).await.unwrap();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disruption_budget_without_a_selector_covers_no_pod() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    test.create::<PodDisruptionBudget>(json!({
        "metadata": {"name": "of-nobody"}, "spec": {"maxUnavailable": 0},
    }))
    .await;
    let kill = json!({"podKill": {"deployment": "pay", "count": 1}});
    let kill = fault_of(serde_json::from_value(kill).unwrap());
    test.faults().check(&kill, &[]).await.unwrap();
    test.create::<PodDisruptionBudget>(json!({
        "metadata": {"name": "of-all"}, "spec": {"maxUnavailable": 0, "selector": {}},
    }))
    .await;
    let refused = test.faults().check(&kill, &[]).await.unwrap_err();
    assert!(
        refused.0.contains("the disruption budget of-all"),
        "{refused}"
    );
    test.shutdown().await;
}
