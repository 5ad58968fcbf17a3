//! What ends a fault besides whoever wanted it, and who carries on when a controller ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_core::experiment::SafetyNet;
use holdfast_engine::FaultDriver;
use holdfast_faults::{Controller, FaultInjection, Phase, found, halt, is_wanted, recover, resume};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cluster::{NAMESPACE, RUN, TestCluster, fault_of, in_time, outage, timeless};

/// A fault as a person would apply it.
pub(crate) fn by_hand(name: &str, not_after: &str, lease: Option<&str>) -> FaultInjection {
    let object = json!({
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "FaultInjection",
        "metadata": {"name": name},
        "spec": {
            "run": "by-hand",
            "step": "outage",
            "fault": {"scale": {"deployment": "pay", "replicas": 1}},
            "notAfter": not_after,
            "lease": lease,
        },
    });
    serde_json::from_value(object).unwrap()
}

pub(crate) fn in_seconds(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

impl TestCluster {
    /// A controller by itself, until the token is cancelled.
    pub(crate) fn control(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        let agent = "holdfast/agent:dev".to_owned();
        let controller = Controller::new(self.client.clone(), None, agent, stop.clone());
        tokio::spawn(controller.run());
        stop
    }

    pub(crate) async fn apply(&self, injection: &FaultInjection) {
        let api = self.api::<FaultInjection>();
        api.create(&PostParams::default(), injection).await.unwrap();
    }

    /// Waits until a fault is in this phase; returns its status.
    pub(crate) async fn phase(&self, name: &str, phase: &str) -> Value {
        let wanted = |found: Option<&FaultInjection>| {
            let status = found.and_then(|found| found.status.clone());
            status.is_some_and(|status| serde_json::to_value(status).unwrap()["phase"] == phase)
        };
        let waiting = await_condition(self.api::<FaultInjection>(), name, wanted);
        let found = in_time(waiting).await.unwrap().unwrap();
        serde_json::to_value(found.status).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_applied_by_hand_ends_when_its_time_is_over() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    let stop = test.control();
    test.apply(&by_hand("outage", &in_seconds(10), None)).await;
    let status = test.phase("outage", "Injected").await;
    assert_eq!(
        status["evidence"],
        "deployment pay: spec.replicas from 2 to 1; \
         1 pod with app=pay is ready and none is on its way out"
    );
    assert_eq!(test.replicas("pay").await, 1);
    let status = test.phase("outage", "Reverted").await;
    assert_eq!(status["revertedBecause"], "its time is over");
    assert_eq!(test.replicas("pay").await, 2);
    stop.cancel();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_whose_run_is_gone_is_undone() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    let stop = test.control();
    let run = test.faults();
    let lease = format!("holdfast-run-{}", RUN.to_lowercase());
    let taken = await_condition(test.api::<Lease>(), &lease, |found: Option<&Lease>| {
        found.is_some()
    });
    in_time(taken).await.unwrap();
    test.apply(&by_hand("outage", &in_seconds(600), Some(&lease)))
        .await;
    test.phase("outage", "Injected").await;
    // Ends the renewals of its lease, as the end of its process would.
    drop(run);
    let status = test.phase("outage", "Reverted").await;
    assert_eq!(status["revertedBecause"], "the run that wanted it is gone");
    assert_eq!(test.replicas("pay").await, 2);
    stop.cancel();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn halting_ends_faults_and_refuses_new_ones_until_resumed() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    let stop = test.control();
    test.apply(&by_hand("outage", &in_seconds(600), None)).await;
    test.phase("outage", "Injected").await;
    halt(&test.client, "too hot").await.unwrap();
    let status = test.phase("outage", "Reverted").await;
    assert_eq!(status["revertedBecause"], "everything is halted: too hot");
    assert_eq!(test.replicas("pay").await, 2);

    let refused = test.faults().check(&outage(1), &[]).await.unwrap_err();
    assert_eq!(
        refused.0,
        "everything is halted (too hot); to permit faults again: holdfast resume"
    );
    assert!(resume(&test.client).await.unwrap());
    assert!(!resume(&test.client).await.unwrap());
    test.faults().check(&outage(1), &[]).await.unwrap();
    stop.cancel();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_controller_carries_on_where_one_ended() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    let first = test.control();
    test.apply(&by_hand("outage", &in_seconds(600), None)).await;
    test.phase("outage", "Injected").await;
    first.cancel();

    let second = test.control();
    let reverted = Patch::Merge(json!({"spec": {"desired": "Reverted"}}));
    let api = test.api::<FaultInjection>();
    api.patch("outage", &PatchParams::default(), &reverted)
        .await
        .unwrap();
    test.phase("outage", "Reverted").await;
    assert_eq!(test.replicas("pay").await, 2);
    second.cancel();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_recovers_one_fault_brings_no_other_about() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    let stop = test.control();
    test.apply(&by_hand("outage", &in_seconds(600), None)).await;
    test.phase("outage", "Injected").await;
    stop.cancel();
    // Until it is gone its controller might take up the next fault.
    let leader = test.api::<Lease>();
    let given_up = |found: Option<&Lease>| found.is_none();
    in_time(await_condition(leader, "holdfast-controller", given_up))
        .await
        .unwrap();
    test.apply(&by_hand("waiting", &in_seconds(600), None))
        .await;

    let left = found(&test.client, None).await.unwrap();
    assert_eq!(left.len(), 2);
    in_time(recover(&test.client, &left[0])).await.unwrap();
    let waiting = found(&test.client, None).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].phase, Phase::Pending);
    assert_eq!(test.replicas("pay").await, 2);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_run_left_is_recovered_by_another_process() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    let stop = test.control();
    test.apply(&by_hand("outage", &in_seconds(600), None)).await;
    test.phase("outage", "Injected").await;
    stop.cancel();

    let left = found(&test.client, None).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].fault, "scale deployment pay to 1");
    assert!(!is_wanted(&test.client, &left[0]).await.unwrap());
    let evidence = in_time(recover(&test.client, &left[0])).await.unwrap();
    assert_eq!(
        timeless(&evidence),
        "deployment pay put back: spec.replicas is 2 again; later: deployment pay has 2 ready pods"
    );
    assert_eq!(found(&test.client, Some(NAMESPACE)).await.unwrap(), []);
    assert_eq!(test.replicas("pay").await, 2);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_broken_where_it_is_not_allowed() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    let forbidden = Patch::Merge(json!({"metadata": {"labels": {"holdfast.dev/chaos": null}}}));
    Api::<Namespace>::all(test.client.clone())
        .patch(NAMESPACE, &PatchParams::default(), &forbidden)
        .await
        .unwrap();
    let stop = test.control();
    test.apply(&by_hand("outage", &in_seconds(600), None)).await;
    let status = test.phase("outage", "Refused").await;
    let error = status["error"].as_str().unwrap();
    assert!(error.contains("does not carry the label"), "{error}");
    assert_eq!(test.replicas("pay").await, 2);

    // A refused fault lets itself be deleted.
    let api = test.api::<FaultInjection>();
    let object = api.get("outage").await.unwrap();
    api.delete("outage", &Default::default()).await.unwrap();
    let uid = object.uid().unwrap();
    let gone = await_condition(api, "outage", kube::runtime::conditions::is_deleted(&uid));
    in_time(gone).await.unwrap();
    stop.cancel();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_pods_need_permission_from_whoever_wants_the_fault() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    let stop = test.control();
    let mut all = by_hand("all", &in_seconds(600), None);
    all.spec.fault =
        serde_json::from_value(json!({"scale": {"deployment": "pay", "replicas": 0}})).unwrap();
    test.apply(&all).await;
    let status = test.phase("all", "Refused").await;
    let error = status["error"].as_str().unwrap();
    assert!(error.contains("leaves 0 of 2 ready pods"), "{error}");
    let mut permitted = all.clone();
    permitted.metadata.name = Some("permitted".to_owned());
    permitted.spec.allow = vec![SafetyNet::BlastRadius];
    test.apply(&permitted).await;
    test.phase("permitted", "Injected").await;
    assert_eq!(test.replicas("pay").await, 0);
    stop.cancel();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_was_gone_finds_the_fault_undone_soon_after() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    let (client, down) = test.failing_client();
    let stop = CancellationToken::new();
    let controller = Controller::new(client, None, String::new(), stop.clone());
    tokio::spawn(controller.run());
    let not_after = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5);
    test.apply(&by_hand("outage", &not_after.to_string(), None))
        .await;
    test.phase("outage", "Injected").await;

    down.store(true, Ordering::SeqCst);
    let over =
        not_after.duration_since(jiff::Timestamp::now()) + jiff::SignedDuration::from_secs(1);
    tokio::time::sleep(Duration::try_from(over).unwrap()).await;
    assert_eq!(test.replicas("pay").await, 1);
    down.store(false, Ordering::SeqCst);
    let status = test.phase("outage", "Reverted").await;
    assert_eq!(status["revertedBecause"], "its time is over");
    assert_eq!(test.replicas("pay").await, 2);
    stop.cancel();
    test.shutdown().await;
}

/// What may happen to a fault and to who works on it.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Prepare,
    Inject,
    Recover,
    ControllerEnds,
    PodsRescheduled,
}

/// Faults that are undone in different ways: put back, waited for, put back with a restart, deleted.
fn a_fault() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..6_u32)
            .prop_map(|replicas| json!({"scale": {"deployment": "pay", "replicas": replicas}})),
        (1..4_u32).prop_map(|count| json!({"podKill": {"deployment": "pay", "count": count}})),
        Just(json!({"configChange": {
            "configMap": "pay", "set": {"PRICE": "0", "BEER": "1"}, "restart": ["pay"],
        }})),
        Just(json!({"serviceDown": {"service": "pay"}})),
        Just(json!({"hpa": {"create": {
            "deployment": "pay", "minReplicas": 1, "maxReplicas": 5, "cpu": 50,
        }}})),
        Just(json!({"rollout": {"deployment": "pay", "setEnv": {"VERSION": "v2"}}})),
    ]
}

/// Whatever happens in whatever order, in the end everything is as before.
#[test]
fn random_timelines_end_reverted() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (test, kubelet, before) = runtime.block_on(async {
        let test = TestCluster::start().await;
        let kubelet = test.kubelet();
        test.create_targets("pay").await;
        let before = test.targets("pay").await;
        (test, kubelet, before)
    });
    let happening = prop_oneof![
        Just(Happening::Prepare),
        Just(Happening::Inject),
        Just(Happening::Recover),
        Just(Happening::ControllerEnds),
        Just(Happening::PodsRescheduled),
    ];
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let run = std::cell::Cell::new(0);
    proptest!(config, |(timeline in proptest::collection::vec(happening, 1..8), fault in a_fault())| {
        run.set(run.get() + 1);
        let name = format!("Run-{}", run.get());
        let fault = fault_of(serde_json::from_value(fault).unwrap());
        let (after, residue, records) = runtime.block_on(async {
            let mut faults = test.faults_of(&name, test.client.clone());
            for happening in timeline {
                // Out of order, most of it is refused.
                match happening {
                    Happening::Prepare => drop(in_time(faults.prepare(&fault)).await),
                    Happening::Inject => drop(in_time(faults.inject(&fault)).await),
                    Happening::Recover => drop(in_time(faults.recover(&fault)).await),
                    Happening::ControllerEnds => faults = test.faults_of(&name, test.client.clone()),
                    Happening::PodsRescheduled => test.delete_a_pod("pay").await,
                }
            }
            in_time(faults.recover(&fault)).await.unwrap();
            let residue = faults.residue().await;
            in_time(faults.end()).await;
            test.settled("pay", 2).await;
            (test.targets("pay").await, residue, test.records().await)
        });
        prop_assert_eq!(&after, &before);
        prop_assert_eq!(residue, Vec::<String>::new());
        prop_assert_eq!(records, Vec::<String>::new());
    });
    drop(kubelet);
    runtime.block_on(test.shutdown());
}
