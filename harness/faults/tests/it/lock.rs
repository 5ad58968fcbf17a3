//! Who may break what at the same time: one run a workload, one fault a thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_core::experiment::SafetyNet;
use holdfast_core::plan::PlannedFault;
use holdfast_engine::FaultDriver;
use holdfast_faults::{CHAOS_LABEL, FaultInjection, KubeFaults};
use http::Request;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{NAMESPACE, TestCluster, fault_of, in_time, ready};

/// A step by its name.
fn step(name: &str, fault: Value) -> PlannedFault {
    PlannedFault {
        name: name.to_owned(),
        ..fault_of(serde_json::from_value(fault).unwrap())
    }
}

fn kill(deployment: &str) -> PlannedFault {
    step(
        "kill",
        json!({"podKill": {"deployment": deployment, "count": 1}}),
    )
}

fn scale(deployment: &str) -> PlannedFault {
    step(
        "scale",
        json!({"scale": {"deployment": deployment, "replicas": 3}}),
    )
}

fn change(deployments: &[&str]) -> PlannedFault {
    let change = json!({"configMap": "prices", "set": {"A": "1"}, "restart": deployments});
    step("change", json!({"configChange": change}))
}

/// What another run is told of a workload that `Run-1` has.
fn held(what: &str) -> String {
    format!(
        "{what} is held by the run Run-1, one at a time; wait until that has ended, or undo what a \
         dead run has left: holdfast recover"
    )
}

impl TestCluster {
    fn other_run(&self) -> KubeFaults {
        self.faults_of("Run-2", self.client.clone())
    }

    /// Another namespace in which faults are allowed, with a ready pod on the node.
    async fn create_elsewhere(&self, namespace: &str, node: &str) {
        let allowed = json!({"metadata": {"name": namespace, "labels": {CHAOS_LABEL: "allowed"}}});
        let allowed = serde_json::from_value(allowed).unwrap();
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let created = namespaces.create(&PostParams::default(), &allowed).await;
        created.unwrap();
        let deployment = json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"nodeName": node, "containers": [{"name": "main", "image": "pay:1"}]},
                },
            },
        });
        let deployment = serde_json::from_value(deployment).unwrap();
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), namespace);
        let created = deployments
            .create(&PostParams::default(), &deployment)
            .await;
        created.unwrap();
        let made = |found: Option<&Deployment>| {
            let status = found.and_then(|found| found.status.as_ref());
            status.and_then(|status| status.replicas) == Some(1)
        };
        in_time(await_condition(deployments, "web", made))
            .await
            .unwrap();
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let pod = pods.list(&ListParams::default()).await.unwrap().items[0].name_any();
        let parameters = PatchParams::default();
        pods.patch_status(&pod, &parameters, &Patch::Merge(ready()))
            .await
            .unwrap();
    }

    async fn is_closed(&self, node: &str) -> bool {
        let node = Api::<Node>::all(self.client.clone()).get(node).await;
        node.unwrap().spec.unwrap().unschedulable == Some(true)
    }

    async fn create_prices(&self) {
        let prices = json!({"metadata": {"name": "prices"}, "data": {}});
        self.create::<ConfigMap>(prices).await;
    }

    async fn workload_lock(&self, deployment: &str) -> String {
        let found = self.api::<Deployment>().get(deployment).await.unwrap();
        format!("holdfast-workload-{}", found.uid().unwrap())
    }

    /// The locks by name, and the faults that have each.
    async fn locks(&self) -> Vec<(String, Vec<String>)> {
        let locks = ListParams::default().labels("holdfast.dev/lock");
        let locks = self.api::<Lease>().list(&locks).await.unwrap();
        let owners = |lease: &Lease| {
            let owners = lease.owner_references().iter();
            owners.map(|owner| owner.name.clone()).collect()
        };
        let named = locks.iter().map(|lease| (lease.name_any(), owners(lease)));
        named.collect()
    }
}

fn lock(name: &str, faults: &[&str]) -> (String, Vec<String>) {
    let faults = faults.iter().map(|fault| (*fault).to_owned());
    (name.to_owned(), faults.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_cannot_hit_one_workload_whatever_they_do_to_it() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 4).await;
    test.create_ready("app", 2).await;
    test.create_service("pay").await;
    test.create_prices().await;
    let one = test.faults();
    one.prepare(&scale("pay")).await.unwrap();
    let other = test.other_run();
    let caller = json!({"deployment": "app", "env": "PAY_URL"});
    for fault in [
        kill("pay"),
        change(&["pay"]),
        // Of the Service the pods behind it count.
        step("down", json!({"serviceDown": {"service": "pay"}})),
        step(
            "slow",
            json!({"throttle": {"service": "pay", "from": caller, "delay": "1s"}}),
        ),
    ] {
        let refused = other.prepare(&fault).await.unwrap_err();
        assert_eq!(refused.0, held("deployment pay"), "{}", fault.name);
        other.recover(&fault).await.unwrap();
    }
    other.prepare(&kill("app")).await.unwrap();
    in_time(one.recover(&scale("pay"))).await.unwrap();
    other.recover(&kill("app")).await.unwrap();
    other.prepare(&kill("pay")).await.unwrap();
    other.recover(&kill("pay")).await.unwrap();
    assert_eq!(test.locks().await, []);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_hits_the_workloads_of_the_pods_on_its_node() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    for name in ["full", "open"] {
        test.create_targets(name).await;
    }
    let one = test.faults();
    one.prepare(&kill("full")).await.unwrap();
    let drain = |node: &str| step("drain", json!({"nodeDrain": {"node": node}}));
    let other = test.other_run();
    let refused = other.prepare(&drain("full")).await.unwrap_err();
    assert_eq!(refused.0, held("deployment full"));
    other.recover(&drain("full")).await.unwrap();
    other.prepare(&drain("open")).await.unwrap();
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_cannot_hold_one_thing_that_is_no_workload() {
    let test = TestCluster::start().await;
    test.create_prices().await;
    let one = test.faults();
    one.prepare(&change(&[])).await.unwrap();
    let refused = test.other_run().prepare(&change(&[])).await.unwrap_err();
    let words = "configmap prices is held by the fault run-1-change, one at a time; ";
    assert!(refused.0.starts_with(words), "{refused}");
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_faults_of_a_run_share_a_workload_until_the_last_has_ended() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 4).await;
    let run = test.faults();
    let workload = test.workload_lock("pay").await;
    // At the same time, so that each finds the lock that the other has made.
    let (killing, scaling) = (kill("pay"), scale("pay"));
    let (killed, scaled) = tokio::join!(run.prepare(&killing), run.prepare(&scaling));
    killed.unwrap();
    scaled.unwrap();
    let mut locks = test.locks().await;
    locks.iter_mut().for_each(|(_, faults)| faults.sort());
    assert_eq!(
        locks,
        [
            lock("holdfast-pods-pay", &["run-1-kill"]),
            lock("holdfast-replicas-pay", &["run-1-scale"]),
            lock(&workload, &["run-1-kill", "run-1-scale"]),
        ]
    );
    run.recover(&killing).await.unwrap();
    let other = test.other_run();
    let refused = other.prepare(&kill("pay")).await.unwrap_err();
    assert_eq!(refused.0, held("deployment pay"));
    other.recover(&kill("pay")).await.unwrap();
    run.recover(&scaling).await.unwrap();
    assert_eq!(test.locks().await, []);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_is_refused_holds_nothing() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    test.create_ready("pay", 2).await;
    test.create_prices().await;
    let run = test.faults();
    let rollout = json!({"rollout": {"deployment": "pay", "setEnv": {"A": "1"}}});
    run.prepare(&step("rollout", rollout)).await.unwrap();
    // It gets all of its locks but the last.
    let refused = run.prepare(&change(&["pay"])).await.unwrap_err();
    let words = "the pod template of deployment pay is held by the fault run-1-rollout, ";
    assert!(refused.0.starts_with(words), "{refused}");
    assert_eq!(
        test.locks().await,
        [
            lock("holdfast-template-pay", &["run-1-rollout"]),
            lock(&test.workload_lock("pay").await, &["run-1-rollout"]),
        ]
    );
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_is_removed_by_force_holds_nothing_for_long() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 4).await;
    let run = test.faults();
    run.prepare(&kill("pay")).await.unwrap();
    let leases = test.api::<Lease>();
    let workload = test.workload_lock("pay").await;
    let uid = leases.get(&workload).await.unwrap().uid().unwrap();
    let (objects, name) = (test.api::<FaultInjection>(), "run-1-kill");
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let parameters = PatchParams::default();
    objects.patch(name, &parameters, &released).await.unwrap();
    let deleted = objects.delete(name, &DeleteParams::default()).await;
    deleted.unwrap();
    let collected = await_condition(leases, &workload, is_deleted(&uid));
    in_time(collected).await.unwrap();
    test.shutdown().await;
}

/// A client with which something else happens when a fault begins to lock what it affects.
fn interrupted<F>(client: Client, happens: impl Fn(Client) -> F + Clone + Send + 'static) -> Client
where
    F: Future<Output = ()> + Send,
{
    let happened = Arc::new(AtomicBool::new(false));
    let interrupted = tower::service_fn(move |request: Request<Body>| {
        let (client, happens, happened) = (client.clone(), happens.clone(), Arc::clone(&happened));
        async move {
            let path = request.uri().path();
            if path.contains("/leases/holdfast-workload-") && !happened.swap(true, Ordering::SeqCst)
            {
                happens(client.clone()).await;
            }
            client.send(request).await
        }
    });
    Client::new(interrupted, NAMESPACE)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_comes_to_a_service_while_it_is_locked_is_left_alone() {
    let test = TestCluster::start().await;
    for name in ["pay", "app"] {
        test.create_ready(name, 2).await;
    }
    test.create_service("pay").await;
    let client = interrupted(test.client.clone(), |client| async move {
        let selector = Patch::Merge(json!({"spec": {"selector": {"app": "app"}}}));
        Api::<Service>::namespaced(client, NAMESPACE)
            .patch("pay", &PatchParams::default(), &selector)
            .await
            .unwrap();
    });
    let run = test.faults_of("Run-1", client);
    let down = step("down", json!({"serviceDown": {"service": "pay"}}));
    let refused = in_time(run.prepare(&down)).await.unwrap_err();
    assert_eq!(
        refused.0,
        "deployment app came to what the fault affects while it was locked; try again"
    );
    assert_eq!(test.locks().await, []);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_go_while_a_workload_is_locked_are_not_counted() {
    let test = TestCluster::start().await;
    test.create_ready("pay", 2).await;
    let client = interrupted(test.client.clone(), |client| async move {
        let pods = Api::<Pod>::namespaced(client, NAMESPACE);
        let found = pods.list(&ListParams::default()).await.unwrap();
        let at_once = DeleteParams::default().grace_period(0);
        let name = found.items[0].name_any();
        pods.delete(&name, &at_once).await.unwrap();
    });
    let run = KubeFaults::start(client, NAMESPACE, "Run-1", "", &[]);
    let refused = in_time(run.prepare(&kill("pay"))).await.unwrap_err();
    let words = "the fault leaves 0 of 1 ready pods of deployment pay;";
    assert!(refused.0.starts_with(words), "{refused}");
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_in_two_namespaces_cannot_drain_one_node() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    for name in ["full", "open"] {
        test.create_targets(name).await;
    }
    test.create_elsewhere("elsewhere", "full").await;
    // As every node has that a cluster has made its own.
    let network = Patch::Merge(json!({"spec": {"podCIDR": "10.0.0.0/24"}}));
    Api::<Node>::all(test.client.clone())
        .patch("full", &PatchParams::default(), &network)
        .await
        .unwrap();
    let before = test.targets("full").await;
    let drain = step("drain", json!({"nodeDrain": {"node": "full"}}));
    let one = test.faults();
    let net = [SafetyNet::BlastRadius];
    let other = KubeFaults::start(test.client.clone(), "elsewhere", "Run-2", "", &net);
    // Open to both of them.
    one.prepare(&drain).await.unwrap();
    other.prepare(&drain).await.unwrap();
    in_time(one.inject(&drain)).await.unwrap();
    let refused = in_time(other.inject(&drain)).await.unwrap_err();
    let why = "node full: spec.unschedulable is true and no longer nothing, as when the fault was \
               prepared: somebody else has changed it, so it is left alone";
    assert_eq!(refused.0, format!("it was undone early: {why}"));
    let evidence = in_time(other.recover(&drain)).await.unwrap();
    assert_eq!(
        evidence,
        format!("ended early: {why}; there was nothing to put back")
    );
    assert_eq!(other.residue().await, Vec::<String>::new());
    assert!(test.is_closed("full").await);
    in_time(one.recover(&drain)).await.unwrap();
    assert!(!test.is_closed("full").await);
    assert_eq!(test.targets("full").await, before);
    assert_eq!(one.residue().await, Vec::<String>::new());
    test.shutdown().await;
}
