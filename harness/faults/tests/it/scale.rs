//! The fault `scale`: whatever happens in between, the Deployment is as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_engine::FaultDriver;
use holdfast_faults::{FaultInjection, Phase};
use http::{Method, Request};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{NAMESPACE, RUN, TestCluster, in_time, outage, timeless};

const RECORD: &str = "run-1-outage";

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_is_recorded_before_the_deployment_is_scaled() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let faults = test.faults();

    let early = faults.inject(&outage(0)).await.unwrap_err();
    assert_eq!(
        early.0,
        "how to undo outage is not recorded, so it is not injected"
    );

    let undo = faults.prepare(&outage(0)).await.unwrap();
    assert_eq!(
        undo,
        format!("deployment pay: spec.replicas to 3 (recorded in faultinjection/{RECORD})")
    );
    assert_eq!(test.records().await, [RECORD]);
    assert_eq!(test.replicas("pay").await, 3);

    let evidence = faults.inject(&outage(0)).await.unwrap();
    assert_eq!(
        evidence,
        "deployment pay: spec.replicas from 3 to 0; no pod with app=pay is left"
    );
    assert_eq!(test.replicas("pay").await, 0);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_pods_are_in_effect_when_they_are_ready() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 1).await;
    let faults = test.faults();
    faults.prepare(&outage(3)).await.unwrap();
    let ready = async {
        let made = |deployment: &Deployment| {
            let status = deployment.status.as_ref();
            status.and_then(|status| status.replicas) == Some(3)
        };
        test.wait_until("pay", made).await;
        let object = test.api::<FaultInjection>().get(RECORD).await.unwrap();
        assert_eq!(object.status.unwrap().phase, Phase::Injecting);
        test.make_ready("pay", 3).await;
    };
    let step = outage(3);
    let (evidence, ()) = tokio::join!(in_time(faults.inject(&step)), ready);
    assert_eq!(
        evidence.unwrap(),
        "deployment pay: spec.replicas from 1 to 3; \
         3 pods with app=pay are ready and none is on its way out"
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recovering_twice_is_recovering_once() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(0)).await.unwrap();
    faults.inject(&outage(0)).await.unwrap();

    let evidence = faults.recover(&outage(0)).await.unwrap();
    assert_eq!(
        timeless(&evidence),
        "deployment pay put back: spec.replicas is 3 again; later: deployment pay has 3 ready pods"
    );
    let after_one = test.api::<Deployment>().get("pay").await.unwrap();
    assert_eq!(test.records().await, Vec::<String>::new());

    let evidence = faults.recover(&outage(0)).await.unwrap();
    assert_eq!(
        timeless(&evidence),
        "deployment pay is as before; later: deployment pay has 3 ready pods"
    );
    let after_two = test.api::<Deployment>().get("pay").await.unwrap();
    assert_eq!(after_one.spec, after_two.spec);
    assert!(after_two.labels().is_empty(), "{:?}", after_two.labels());
    assert_eq!(test.records().await, Vec::<String>::new());
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_attempt_s_record_is_kept() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let first = test.faults();
    first.prepare(&outage(0)).await.unwrap();
    first.inject(&outage(0)).await.unwrap();

    let again = test.faults();
    let undo = again.prepare(&outage(0)).await.unwrap();
    assert!(
        undo.starts_with("deployment pay: spec.replicas to 3 "),
        "{undo}"
    );
    again.recover(&outage(0)).await.unwrap();
    assert_eq!(test.replicas("pay").await, 3);
    assert_eq!(again.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_removed_by_force_does_not_keep_the_run_from_recovering() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(1)).await.unwrap();
    // A controller is not asked: the finalizer is taken away, and the object with it.
    faults.inject(&outage(1)).await.unwrap();
    let objects = test.api::<FaultInjection>();
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let parameters = PatchParams::default();
    objects.patch(RECORD, &parameters, &released).await.unwrap();
    objects
        .delete(RECORD, &DeleteParams::default())
        .await
        .unwrap();

    let evidence = in_time(faults.recover(&outage(1))).await.unwrap();
    assert_eq!(
        timeless(&evidence),
        format!(
            "ended early: somebody else has deleted faultinjection {RECORD}; \
             deployment pay put back: spec.replicas is 3 again; later: deployment pay has 3 ready pods"
        )
    );
    assert_eq!(test.replicas("pay").await, 3);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_was_never_prepared_changes_nothing() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
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
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
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
        timeless(&evidence),
        "deployment pay is gone or was replaced; there is nothing to put back; \
         later: deployment pay is gone or was replaced"
    );
    assert_eq!(test.replicas("pay").await, 5);
    assert_eq!(test.records().await, Vec::<String>::new());
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_has_set_since_is_left_alone() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(0)).await.unwrap();
    test.set_replicas("pay", 5).await;
    let refused = in_time(faults.inject(&outage(0))).await.unwrap_err();
    assert_eq!(
        refused.0,
        "it was undone early: deployment pay: spec.replicas is 5 and no longer 3, as when the fault \
         was prepared: somebody else has changed it, so it is left alone"
    );
    in_time(faults.recover(&outage(0))).await.unwrap();
    assert_eq!(test.replicas("pay").await, 5);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn residue_names_records_and_differences() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let faults = test.faults();
    faults.prepare(&outage(0)).await.unwrap();
    faults.inject(&outage(0)).await.unwrap();
    let difference = "outage: deployment pay: spec.replicas is 0 instead of 3; put it back: kubectl -n default edit deployment pay";
    assert_eq!(
        faults.residue().await,
        [
            difference,
            "outage: not undone: deployment pay: spec.replicas to 3",
        ]
    );

    faults.recover(&outage(0)).await.unwrap();
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.set_replicas("pay", 0).await;
    assert_eq!(faults.residue().await, [difference]);
    test.shutdown().await;
}

fn is_injection(request: &Request<Body>) -> bool {
    request.method() == Method::PUT && request.uri().path().ends_with("/deployments/pay")
}

/// A request on its way: `go` lets it continue, `status` is what the server answered.
struct Held {
    go: oneshot::Sender<()>,
    status: oneshot::Receiver<u16>,
}

/// A client whose first change of the Deployment is on its way for as long as the test wants, while
/// whoever sent it is told that it failed.
fn lossy_client(client: Client) -> (Client, mpsc::UnboundedReceiver<Held>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let lost = Arc::new(AtomicBool::new(false));
    let lossy = tower::service_fn(move |request: Request<Body>| {
        let (client, sender, lost) = (client.clone(), sender.clone(), Arc::clone(&lost));
        async move {
            if !is_injection(&request) || lost.swap(true, Ordering::SeqCst) {
                return Ok(client.send(request).await?);
            }
            let (go, may_go) = oneshot::channel();
            let (tell, status) = oneshot::channel();
            sender.send(Held { go, status }).unwrap();
            tokio::spawn(async move {
                may_go.await.unwrap();
                let response = client.send(request).await.unwrap();
                tell.send(response.status().as_u16()).unwrap();
            });
            Err(tower::BoxError::from("connection reset"))
        }
    });
    (Client::new(lossy, NAMESPACE), receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injection_that_arrives_after_its_undo_is_refused() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let (client, mut on_their_way) = lossy_client(test.client.clone());
    let faults = test.faults_of(RUN, client);
    faults.prepare(&outage(0)).await.unwrap();

    let refused = faults.inject(&outage(0)).await.unwrap_err();
    assert!(refused.0.contains("connection reset"), "{}", refused.0);
    let held = in_time(on_their_way.recv()).await.unwrap();
    let evidence = in_time(faults.recover(&outage(0))).await.unwrap();
    assert!(evidence.starts_with("deployment pay "), "{evidence}");

    held.go.send(()).unwrap();
    assert_eq!(in_time(held.status).await.unwrap(), 409);
    assert_eq!(test.replicas("pay").await, 3);
    assert_eq!(faults.residue().await, Vec::<String>::new());
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injection_is_tried_again_when_the_deployment_changes_meanwhile() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
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
    let faults = test.faults_of(RUN, Client::new(racing, NAMESPACE));
    faults.prepare(&outage(1)).await.unwrap();
    faults.inject(&outage(1)).await.unwrap();
    assert!(was_changed.load(Ordering::SeqCst));
    assert_eq!(test.replicas("pay").await, 1);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_stored_although_nobody_said_so_is_undone() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let (client, repeated) = (test.client.clone(), Arc::new(AtomicBool::new(false)));
    let was_repeated = Arc::clone(&repeated);
    // As a client that is answered 504 sends a request again by itself.
    let repeating = tower::service_fn(move |request: Request<Body>| {
        let (client, repeated) = (client.clone(), Arc::clone(&repeated));
        async move {
            if !is_injection(&request) || repeated.swap(true, Ordering::SeqCst) {
                return client.send(request).await;
            }
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?.to_vec();
            let request = || Request::from_parts(parts.clone(), Body::from(body.clone()));
            client.send(request()).await?;
            client.send(request()).await
        }
    });
    let faults = test.faults_of(RUN, Client::new(repeating, NAMESPACE));
    faults.prepare(&outage(1)).await.unwrap();
    in_time(faults.inject(&outage(1))).await.unwrap();
    assert!(was_repeated.load(Ordering::SeqCst));
    assert_eq!(test.replicas("pay").await, 1);
    in_time(faults.recover(&outage(1))).await.unwrap();
    assert_eq!(test.replicas("pay").await, 3);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_one_attempt_to_undo_failed_is_no_answer_to_the_next() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let client = test.watched_client(move |request| {
        !(is_injection(request) && is_broken.load(Ordering::SeqCst))
    });
    let faults = test.faults_of(RUN, client);
    faults.prepare(&outage(0)).await.unwrap();
    faults.inject(&outage(0)).await.unwrap();
    broken.store(true, Ordering::SeqCst);
    let failed = in_time(faults.recover(&outage(0))).await.unwrap_err();
    assert!(
        failed.0.starts_with("not everything is undone: "),
        "{failed}"
    );
    broken.store(false, Ordering::SeqCst);
    in_time(faults.recover(&outage(0))).await.unwrap();
    assert_eq!(test.replicas("pay").await, 3);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_has_ended_asks_for_nothing_and_holds_nothing() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 3).await;
    let asked = Arc::new(AtomicBool::new(false));
    let was_asked = Arc::clone(&asked);
    let client = test.watched_client(move |_| {
        was_asked.store(true, Ordering::SeqCst);
        true
    });
    let faults = test.faults_of(RUN, client);
    faults.prepare(&outage(0)).await.unwrap();
    faults.recover(&outage(0)).await.unwrap();
    in_time(faults.end()).await;
    assert!(asked.swap(false, Ordering::SeqCst));
    let leases = test
        .api::<Lease>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let leases: Vec<_> = leases.iter().map(ResourceExt::name_any).collect();
    assert_eq!(leases, [""; 0]);
    assert!(!asked.load(Ordering::SeqCst));
    test.shutdown().await;
}
