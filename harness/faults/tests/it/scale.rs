//! The fault `scale`: whatever happens in between, the Deployment is as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_engine::FaultDriver;
use holdfast_faults::KubeFaults;
use http::{Method, Request};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{NAMESPACE, RUN, TestCluster, in_time, outage};

const RECORD: &str = "holdfast-run-1-outage";

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_is_recorded_before_the_deployment_is_scaled() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let faults = test.faults();

    let early = faults.inject(&outage(0)).await.unwrap_err();
    assert_eq!(
        early.0,
        "how to undo outage is not recorded, so it is not injected"
    );

    let undo = faults.prepare(&outage(0)).await.unwrap();
    assert_eq!(
        undo,
        format!("scale deployment pay to 3 (recorded in configmap/{RECORD})")
    );
    assert_eq!(test.records().await, [RECORD]);
    assert_eq!(test.replicas("pay").await, 3);

    let evidence = faults.inject(&outage(0)).await.unwrap();
    assert_eq!(evidence, "deployment pay scaled from 3 to 0");
    assert_eq!(test.replicas("pay").await, 0);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recovering_twice_is_recovering_once() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(0)).await.unwrap();
    faults.inject(&outage(0)).await.unwrap();

    let evidence = faults.recover(&outage(0)).await.unwrap();
    assert_eq!(evidence, "deployment pay scaled back from 0 to 3");
    let after_one = test.api::<Deployment>().get("pay").await.unwrap();
    assert_eq!(test.records().await, Vec::<String>::new());

    let evidence = faults.recover(&outage(0)).await.unwrap();
    assert_eq!(evidence, "deployment pay has 3 replicas, as before");
    let after_two = test.api::<Deployment>().get("pay").await.unwrap();
    assert_eq!(after_one.spec, after_two.spec);
    assert!(after_two.labels().is_empty(), "{:?}", after_two.labels());
    assert_eq!(test.records().await, Vec::<String>::new());
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_record_of_a_fault_is_kept() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let first = test.faults();
    first.prepare(&outage(0)).await.unwrap();
    first.inject(&outage(0)).await.unwrap();

    let again = test.faults();
    let undo = again.prepare(&outage(0)).await.unwrap();
    assert!(undo.starts_with("scale deployment pay to 3 "), "{undo}");
    again.recover(&outage(0)).await.unwrap();
    assert_eq!(test.replicas("pay").await, 3);
    assert_eq!(again.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_deleted_by_hand_does_not_keep_the_run_from_recovering() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(1)).await.unwrap();
    faults.inject(&outage(1)).await.unwrap();
    test.api::<ConfigMap>()
        .delete(RECORD, &DeleteParams::default())
        .await
        .unwrap();

    let evidence = faults.recover(&outage(1)).await.unwrap();
    assert_eq!(evidence, "deployment pay scaled back from 1 to 3");
    assert_eq!(test.replicas("pay").await, 3);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoilt_record_does_not_keep_the_run_from_recovering() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(1)).await.unwrap();
    faults.inject(&outage(1)).await.unwrap();
    let spoilt = Patch::Merge(json!({"data": {"undo.json": "{"}}));
    let maps = test.api::<ConfigMap>();
    let parameters = PatchParams::default();
    maps.patch(RECORD, &parameters, &spoilt).await.unwrap();

    // Another process knows nothing but the record.
    let refused = test.faults().recover(&outage(1)).await.unwrap_err();
    assert_eq!(
        refused.0,
        format!(
            "the undo record {RECORD} is not readable; undo by hand and delete it: EOF while parsing an object at line 1 column 1"
        )
    );
    faults.recover(&outage(1)).await.unwrap();
    assert_eq!(test.replicas("pay").await, 3);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_recovers_from_the_record() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(1)).await.unwrap();
    faults.inject(&outage(1)).await.unwrap();
    drop(faults);
    let evidence = test.faults().recover(&outage(1)).await.unwrap();
    assert_eq!(evidence, "deployment pay scaled back from 1 to 3");
    assert_eq!(test.records().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_was_never_prepared_changes_nothing() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let before = test.api::<Deployment>().get("pay").await.unwrap();
    let evidence = test.faults().recover(&outage(0)).await.unwrap();
    assert_eq!(evidence, "nothing was recorded, so nothing was changed");
    let after = test.api::<Deployment>().get("pay").await.unwrap();
    assert_eq!(before.metadata.generation, after.metadata.generation);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_deployment_of_the_same_name_is_left_alone() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(0)).await.unwrap();
    test.delete_deployment("pay").await;
    test.create_deployment("pay", 5).await;

    let refused = faults.inject(&outage(0)).await.unwrap_err();
    assert_eq!(
        refused.0,
        "deployment pay was replaced after its undo was recorded; it is left alone"
    );
    let evidence = faults.recover(&outage(0)).await.unwrap();
    assert_eq!(
        evidence,
        "deployment pay was replaced; the new one is left alone"
    );
    assert_eq!(test.replicas("pay").await, 5);
    assert_eq!(test.records().await, Vec::<String>::new());
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn residue_names_records_and_differences() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(0)).await.unwrap();
    faults.inject(&outage(0)).await.unwrap();
    let difference = "outage: deployment pay has 0 replicas instead of 3; scale it back: kubectl -n default scale deployment pay --replicas 3";
    assert_eq!(
        faults.residue().await,
        [difference, "outage: not undone: scale deployment pay to 3",]
    );

    faults.recover(&outage(0)).await.unwrap();
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.set_replicas("pay", 0).await;
    assert_eq!(faults.residue().await, [difference]);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn residue_asks_nothing_of_a_cluster_in_which_nothing_was_written() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let (client, down) = (test.client.clone(), Arc::new(AtomicBool::new(false)));
    let is_down = Arc::clone(&down);
    let failing = tower::service_fn(move |request: Request<Body>| {
        let (client, is_down) = (client.clone(), Arc::clone(&is_down));
        async move {
            if is_down.load(Ordering::SeqCst) {
                return Err(tower::BoxError::from("connection refused"));
            }
            Ok(client.send(request).await?)
        }
    });
    let client = Client::new(failing, NAMESPACE);
    let idle = KubeFaults::new(client.clone(), NAMESPACE, RUN);
    let busy = KubeFaults::new(client, NAMESPACE, RUN);
    busy.prepare(&outage(0)).await.unwrap();

    down.store(true, Ordering::SeqCst);
    assert_eq!(idle.residue().await, Vec::<String>::new());
    assert_eq!(
        busy.residue().await,
        [
            "cannot list the undo record of run run-1: ServiceError: connection refused",
            "outage: cannot read deployment default/pay: ServiceError: connection refused",
        ]
    );
    test.shutdown().await;
}

fn is_injection(request: &Request<Body>) -> bool {
    request.method() == Method::PATCH && request.uri().path().ends_with("/scale")
}

/// A request on its way: `go` lets it continue, `status` is what the server answered.
struct Held {
    go: oneshot::Sender<()>,
    status: oneshot::Receiver<u16>,
}

/// A client whose injections are on their way for as long as the test wants, and cannot be
/// recalled.
fn slow_client(client: Client) -> (Client, mpsc::UnboundedReceiver<Held>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let slow = tower::service_fn(move |request: Request<Body>| {
        let (client, sender) = (client.clone(), sender.clone());
        async move {
            if !is_injection(&request) {
                return client.send(request).await;
            }
            let (go, may_go) = oneshot::channel();
            let (tell, status) = oneshot::channel();
            sender.send(Held { go, status }).unwrap();
            let sending = tokio::spawn(async move {
                may_go.await.unwrap();
                let response = client.send(request).await;
                let status = response.as_ref().unwrap().status().as_u16();
                tell.send(status).unwrap();
                response
            });
            sending.await.unwrap()
        }
    });
    (Client::new(slow, NAMESPACE), receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injection_that_arrives_after_its_undo_is_refused() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    test.make_ready("pay", 3).await;
    let (client, mut on_their_way) = slow_client(test.client.clone());
    let faults = Arc::new(KubeFaults::new(client, NAMESPACE, RUN));
    faults.prepare(&outage(0)).await.unwrap();

    let injecting = Arc::clone(&faults);
    let injecting = tokio::spawn(async move { injecting.inject(&outage(0)).await });
    let held = in_time(on_their_way.recv()).await.unwrap();
    injecting.abort();
    assert!(injecting.await.unwrap_err().is_cancelled());
    let evidence = faults.recover(&outage(0)).await.unwrap();
    assert_eq!(evidence, "deployment pay has 3 replicas, as before");

    held.go.send(()).unwrap();
    assert_eq!(in_time(held.status).await.unwrap(), 409);
    assert_eq!(test.replicas("pay").await, 3);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injection_is_tried_again_when_the_deployment_changes_meanwhile() {
    let test = TestCluster::start().await;
    test.create_deployment("pay", 3).await;
    let (client, changed) = (test.client.clone(), Arc::new(AtomicBool::new(false)));
    let was_changed = Arc::clone(&changed);
    let racing = tower::service_fn(move |request: Request<Body>| {
        let (client, changed) = (client.clone(), Arc::clone(&changed));
        async move {
            if is_injection(&request) && !changed.swap(true, Ordering::SeqCst) {
                let label = Patch::Merge(json!({"metadata": {"labels": {"team": "payments"}}}));
                Api::<Deployment>::namespaced(client.clone(), NAMESPACE)
                    .patch("pay", &PatchParams::default(), &label)
                    .await?;
            }
            client.send(request).await
        }
    });
    let faults = KubeFaults::new(Client::new(racing, NAMESPACE), NAMESPACE, RUN);
    faults.prepare(&outage(1)).await.unwrap();
    faults.inject(&outage(1)).await.unwrap();
    assert!(was_changed.load(Ordering::SeqCst));
    assert_eq!(test.replicas("pay").await, 1);
    test.shutdown().await;
}

#[test]
fn undoing_an_injection_restores_the_replicas() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let test = runtime.block_on(async {
        let test = TestCluster::start().await;
        test.create_deployment("pay", 1).await;
        test
    });
    let config = ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(before in 0..6, during in 0..6_u32)| {
        let after = runtime.block_on(async {
            test.set_replicas("pay", before).await;
            let faults = test.faults();
            faults.prepare(&outage(during)).await.unwrap();
            faults.inject(&outage(during)).await.unwrap();
            faults.recover(&outage(during)).await.unwrap();
            test.replicas("pay").await
        });
        prop_assert_eq!(before, after);
    });
    runtime.block_on(test.shutdown());
}
