//! Faults that end before their run comes to undo them: what ends them, and what the run says of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_core::fault::Fault;
use holdfast_engine::FaultDriver;
use holdfast_faults::{
    Controller, FaultInjection, KubeFaults, RUN_LABEL, halt, resume, undo_overdue,
};
use http::{Method, Request};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::client::Body;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::{NAMESPACE, RUN, TestCluster, fault_of, in_time, outage, state, timeless};
use crate::controller::{by_hand, in_seconds};

const RECORD: &str = "run-1-outage";
/// What is seen once all is undone.
const READY: &str = "later: deployment pay has 2 ready pods";

impl TestCluster {
    /// Pods of `pay` to take away.
    async fn create_pay(&self) {
        self.create_deployment("pay", 2).await;
        self.settled("pay", 2).await;
    }

    /// One that does harm is made by an agent on a node.
    async fn agent(&self) -> Pod {
        let made = ListParams::default().labels(RUN_LABEL);
        let mut pods = self.api::<Pod>().list(&made).await.unwrap().items;
        assert_eq!(pods.len(), 1);
        pods.remove(0)
    }

    async fn pod_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        let pods = self.api::<Pod>();
        let parameters = PatchParams::default();
        pods.patch_status(name, &parameters, &patch).await.unwrap();
    }
}

async fn inject(faults: &KubeFaults) {
    faults.prepare(&outage(1)).await.unwrap();
    in_time(faults.inject(&outage(1))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_finds_its_fault_undone_by_somebody_else_and_says_so() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_pay().await;
    let objects = test.api::<FaultInjection>();
    let faults = test.faults();
    inject(&faults).await;
    let reverted = Patch::Merge(json!({"spec": {"desired": "Reverted"}}));
    let parameters = PatchParams::default();
    objects.patch(RECORD, &parameters, &reverted).await.unwrap();
    test.phase(RECORD, "Reverted").await;
    let evidence = in_time(faults.recover(&outage(1))).await.unwrap();
    let undone = "deployment pay put back: spec.replicas is 2 again";
    assert_eq!(
        timeless(&evidence),
        format!("ended early: somebody else has ended it; {undone}; {READY}")
    );
    // Asked again, as after an answer that was lost.
    let evidence = in_time(faults.recover(&outage(1))).await.unwrap();
    let again = "ended early: somebody else has ended it; deployment pay is as before";
    assert_eq!(timeless(&evidence), format!("{again}; {READY}"));
    in_time(faults.end()).await;

    test.settled("pay", 2).await;
    let faults = test.faults();
    inject(&faults).await;
    let deleted = objects.delete(RECORD, &DeleteParams::default()).await;
    deleted.unwrap();
    let gone = await_condition(objects.clone(), RECORD, |found: Option<&FaultInjection>| {
        found.is_none()
    });
    in_time(gone).await.unwrap();
    let evidence = in_time(faults.recover(&outage(1))).await.unwrap();
    let why = "ended early: somebody else has deleted faultinjection run-1-outage";
    assert_eq!(
        timeless(&evidence),
        format!("{why}; deployment pay is as before; {READY}")
    );
    in_time(faults.end()).await;

    test.settled("pay", 2).await;
    let faults = test.faults();
    inject(&faults).await;
    halt(&test.client, "too hot; go home").await.unwrap();
    test.phase(RECORD, "Reverted").await;
    resume(&test.client).await.unwrap();
    let evidence = in_time(faults.recover(&outage(1))).await.unwrap();
    let why = "ended early: everything is halted: too hot, go home";
    assert_eq!(timeless(&evidence), format!("{why}; {undone}; {READY}"));
    in_time(faults.end()).await;
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_not_take_itself_for_dead() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_pay().await;
    let late = Arc::new(AtomicBool::new(false));
    let is_late = Arc::clone(&late);
    // As when the API is back, and the lease is not renewed yet.
    let client = test.watched_client(move |request| {
        let renews = request.uri().path().ends_with("/holdfast-run-run-1");
        !(is_late.load(Ordering::SeqCst) && renews && request.method() == Method::PUT)
    });
    let faults = test.faults_of(RUN, client);
    inject(&faults).await;
    late.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(test.replicas("pay").await, 1);
    let evidence = in_time(faults.recover(&outage(1))).await.unwrap();
    assert!(
        evidence.starts_with("deployment pay put back"),
        "{evidence}"
    );
    test.shutdown().await;
}

/// A fault whose harm a pod does.
fn pressure(not_after: &str) -> FaultInjection {
    let mut fault = by_hand("outage", not_after, None);
    let cpu = json!({"cpuPressure": {"deployment": "cpu", "workers": 1, "load": 50}});
    fault.spec.fault = serde_json::from_value::<Fault>(cpu).unwrap();
    fault
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_ends_when_the_pod_that_does_the_harm_no_longer_does() {
    let not_ready = json!({"conditions": [
        {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:01Z"},
    ]});
    for (status, why) in [
        (None, "is gone"),
        (Some(json!({"phase": "Failed"})), "has ended"),
        (Some(not_ready), "is no longer ready"),
    ] {
        let test = TestCluster::start().await;
        let kubelet = test.kubelet();
        test.create_targets("cpu").await;
        let stop = test.control();
        test.apply(&pressure(&in_seconds(600))).await;
        test.phase("outage", "Injected").await;
        drop(kubelet);
        let agent = test.agent().await.name_any();
        match status {
            Some(status) => test.pod_status(&agent, status).await,
            None => {
                let at_once = DeleteParams::default().grace_period(0);
                test.api::<Pod>().delete(&agent, &at_once).await.unwrap();
            }
        }
        let told = |found: Option<&FaultInjection>| {
            let status = found.and_then(|found| found.status.as_ref());
            status.is_some_and(|status| status.reverted_because.is_some())
        };
        let ending = await_condition(test.api::<FaultInjection>(), "outage", told);
        in_time(ending).await.unwrap();
        let _kubelet = test.kubelet();
        let status = test.phase("outage", "Reverted").await;
        assert_eq!(status["revertedBecause"], format!("pod {agent} {why}"));
        stop.cancel();
        test.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_ends_with_the_time_of_its_fault_is_no_surprise() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_targets("cpu").await;
    let stop = test.control();
    // The agent is told whole seconds, so that it ends before its fault is over.
    let whole = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 6).unwrap();
    let not_after = whole + jiff::SignedDuration::from_millis(999);
    test.apply(&pressure(&not_after.to_string())).await;
    test.phase("outage", "Injected").await;
    let left = whole.duration_since(jiff::Timestamp::now());
    tokio::time::sleep(Duration::try_from(left).unwrap()).await;
    let agent = test.agent().await.name_any();
    test.pod_status(&agent, json!({"phase": "Succeeded"})).await;
    let status = test.phase("outage", "Reverted").await;
    assert_eq!(status["revertedBecause"], "its time is over");
    stop.cancel();
    test.shutdown().await;
}

/// A client whose process is stopped while it is not `true`: no question leaves, no answer arrives.
/// It stops itself when the first change of the ConfigMap `pay` is done.
fn stopping_client(client: Client) -> (Client, watch::Sender<bool>) {
    let (running, _) = watch::channel(true);
    let (of_client, stopped) = (running.clone(), Arc::new(AtomicBool::new(false)));
    let stopping = tower::service_fn(move |request: Request<Body>| {
        let (client, running, stopped) = (client.clone(), of_client.clone(), Arc::clone(&stopped));
        async move {
            let mut goes_on = running.subscribe();
            goes_on.wait_for(|running| *running).await?;
            let changes = request.method() == Method::PUT
                && request.uri().path().ends_with("/configmaps/pay");
            let answer = client.send(request).await?;
            if changes && !stopped.swap(true, Ordering::SeqCst) {
                running.send_replace(false);
            }
            goes_on.wait_for(|running| *running).await?;
            Ok::<_, tower::BoxError>(answer)
        }
    });
    (Client::new(stopping, NAMESPACE), running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_stopped_half_way_does_no_more_when_it_goes_on() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_targets("pay").await;
    let (client, running) = stopping_client(test.client.clone());
    let faults = test.faults_of(RUN, client);
    let change = json!({"configMap": "pay", "set": {"PRICE": "0"}, "restart": ["pay"]});
    let change = fault_of(serde_json::from_value(json!({"configChange": change})).unwrap());
    faults.prepare(&change).await.unwrap();
    let meanwhile = async {
        let mut state = running.subscribe();
        state.wait_for(|running| !running).await.unwrap();
        let other = test.control();
        let status = test.phase(RECORD, "Reverted").await;
        assert_eq!(status["revertedBecause"], "the run that wanted it is gone");
        other.cancel();
        test.settled("pay", 2).await;
        let undone = state_of_pay(&test).await;
        running.send_replace(true);
        undone
    };
    let (injected, undone) = tokio::join!(faults.inject(&change), meanwhile);
    assert_eq!(
        injected.unwrap_err().0,
        "it was undone early: the run that wanted it is gone"
    );
    let evidence = in_time(faults.recover(&change)).await.unwrap();
    let why = "ended early: the run that wanted it is gone; ";
    assert!(evidence.starts_with(why), "{evidence}");
    in_time(faults.end()).await;
    assert_eq!(state_of_pay(&test).await, undone);
    test.shutdown().await;
}

/// With the time of its last restart.
async fn state_of_pay(test: &TestCluster) -> Value {
    state::<Deployment>(test, "pay").await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stands_by_undoes_what_nobody_ends() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_pay().await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let stop = CancellationToken::new();
    let standing_by = tokio::spawn({
        let (client, stop, said) = (test.client.clone(), stop.clone(), Arc::clone(&said));
        async move {
            let say = |line: &str| said.lock().unwrap().push(line.to_owned());
            undo_overdue(&client, NAMESPACE, &stop, say).await;
        }
    });
    // A run that hangs.
    let (client, down) = test.failing_client();
    let faults = test.faults_of(RUN, client);
    inject(&faults).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(*said.lock().unwrap(), [""; 0], "it is alive");
    down.store(true, Ordering::SeqCst);
    let status = test.phase(RECORD, "Reverted").await;
    assert_eq!(status["revertedBecause"], "the run that wanted it is gone");
    down.store(false, Ordering::SeqCst);
    let evidence = in_time(faults.recover(&outage(1))).await.unwrap();
    let why = "ended early: the run that wanted it is gone; ";
    assert!(evidence.starts_with(why), "{evidence}");
    in_time(faults.end()).await;

    // A controller that hangs.
    test.settled("pay", 2).await;
    let (client, down) = test.failing_client();
    let controlling = CancellationToken::new();
    let controller = Controller::new(client, None, String::new(), controlling.clone());
    tokio::spawn(controller.run());
    test.apply(&by_hand("late", &in_seconds(5), None)).await;
    test.phase("late", "Injected").await;
    down.store(true, Ordering::SeqCst);
    let status = test.phase("late", "Reverted").await;
    assert_eq!(status["revertedBecause"], "its time is over");
    controlling.cancel();
    stop.cancel();
    in_time(standing_by).await.unwrap();
    assert_eq!(
        *said.lock().unwrap(),
        [
            "the fault outage of run Run-1: the run that wanted it is gone",
            "the fault outage of run by-hand: its time is over",
        ]
    );
    test.shutdown().await;
}
