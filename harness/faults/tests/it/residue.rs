//! No residue: whatever happens while faults are in effect, everything is as before soon afterwards.
//! Every event is tried with every fault of the catalogue at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use holdfast_core::plan::PlannedFault;
use holdfast_engine::FaultDriver;
use holdfast_faults::{FaultInjection, KubeFaults, RUN_LABEL, found, recover};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::catalogue::{catalogue, step};
use crate::cluster::{NAMESPACE, RUN, TestCluster};

/// A fault's notAfter (planned end + 30 s) + 10 s, counted from the event.
const WITHIN: Duration = Duration::from_secs(40);

/// How long the API server is away where it is.
const OUTAGE: Duration = Duration::from_secs(30);

/// All faults of the catalogue in effect, and what was there before.
struct Siege {
    test: TestCluster,
    steps: Vec<PlannedFault>,
    before: Vec<Vec<Value>>,
    _kubelet: tokio_util::task::AbortOnDropHandle<()>,
}

impl Siege {
    async fn lay() -> Self {
        let test = TestCluster::start().await;
        let kubelet = test.kubelet();
        let catalogue = catalogue();
        let names: Vec<_> = catalogue.iter().map(|(name, _)| *name).collect();
        join_all(names.iter().map(|name| test.create_targets(name))).await;
        let mut before = Vec::new();
        for name in &names {
            before.push(test.targets(name).await);
        }
        Self {
            steps: catalogue.iter().map(step).collect(),
            before,
            _kubelet: kubelet,
            test,
        }
    }

    async fn inject(&self, faults: &KubeFaults) {
        let injecting = self.steps.iter().map(async |step| {
            faults.prepare(step).await?;
            faults.inject(step).await
        });
        for (injected, step) in join_all(injecting).await.into_iter().zip(&self.steps) {
            injected.unwrap_or_else(|error| panic!("{}: {error}", step.name));
        }
    }

    /// Undoes all of them as the loop does: again and again until it succeeds.
    async fn recover(&self, faults: &KubeFaults) {
        let recovering = self.steps.iter().map(async |step| {
            let mut error = String::new();
            for _ in 0..60 {
                match faults.recover(step).await {
                    Ok(_) => return,
                    Err(failed) => error = failed.0,
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            panic!("{}: {error}", step.name);
        });
        soon(join_all(recovering)).await;
        assert_eq!(faults.residue().await, Vec::<String>::new());
    }

    /// Undoes all of them as a janitor does.
    async fn recover_by_another(&self) {
        let client = &self.test.client;
        let left = found(client, Some(NAMESPACE)).await.unwrap();
        assert_eq!(left.len(), self.steps.len());
        let recovering = left.iter().map(|one| recover(client, one));
        for (undone, one) in soon(join_all(recovering)).await.into_iter().zip(&left) {
            undone.unwrap_or_else(|error| panic!("{}: {error}", one.name));
        }
    }

    /// Asserts that nothing is left of any fault.
    async fn nothing_is_left(&self) {
        assert_eq!(names::<FaultInjection>(&self.test, "").await, [""; 0]);
        assert_eq!(
            names::<Lease>(&self.test, "holdfast.dev/lock").await,
            [""; 0]
        );
        assert_eq!(names::<Pod>(&self.test, RUN_LABEL).await, [""; 0]);
        assert_eq!(names::<Service>(&self.test, RUN_LABEL).await, [""; 0]);
        assert_eq!(
            names::<HorizontalPodAutoscaler>(&self.test, RUN_LABEL).await,
            [""; 0]
        );
    }

    /// Asserts that nothing is left and everything as before.
    async fn left_nothing_behind(self) {
        self.nothing_is_left().await;
        self.everything_is_as_before().await;
        self.test.shutdown().await;
    }

    async fn everything_is_as_before(&self) {
        self.what_is_left_is_as_before(&[]).await;
    }

    /// Asserts that all but the kinds that somebody has deleted is there, and as before.
    async fn what_is_left_is_as_before(&self, deleted: &[&str]) {
        for (step, before) in self.steps.iter().zip(&self.before) {
            let mut before = before.clone();
            before.retain(|object| !deleted.iter().any(|kind| object["kind"] == *kind));
            let left = self.test.targets(&step.name).await;
            assert_eq!(left, before, "{}", step.name);
        }
    }
}

async fn soon<T>(result: impl Future<Output = T>) -> T {
    let within = tokio::time::timeout(WITHIN, result).await;
    within.expect("not everything was undone 10 s after notAfter")
}

async fn names<K>(test: &TestCluster, label: &str) -> Vec<String>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    let labelled = ListParams::default().labels(label);
    let found = test.api::<K>().list(&labelled).await.unwrap();
    found.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_run_that_is_told_to_end() {
    let siege = Siege::lay().await;
    let faults = siege.test.faults();
    siege.inject(&faults).await;
    siege.recover(&faults).await;
    faults.end().await;
    siege.left_nothing_behind().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_run_that_is_told_to_end_while_it_injects() {
    let siege = Siege::lay().await;
    let faults = siege.test.faults();
    let preparing = siege.steps.iter().map(|step| faults.prepare(step));
    for prepared in join_all(preparing).await {
        prepared.unwrap();
    }
    // As the loop gives an injection up: wherever each is by then.
    let injecting = join_all(siege.steps.iter().map(|step| faults.inject(step)));
    drop(tokio::time::timeout(Duration::from_millis(200), injecting).await);
    siege.recover(&faults).await;
    faults.end().await;
    siege.left_nothing_behind().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_controller_that_is_started_again() {
    let siege = Siege::lay().await;
    let faults = siege.test.faults();
    siege.inject(&faults).await;
    drop(faults);
    let again = siege.test.faults();
    siege.recover(&again).await;
    again.end().await;
    siege.left_nothing_behind().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_run_that_is_killed() {
    let siege = Siege::lay().await;
    let (client, dead) = siege.test.failing_client();
    let faults = siege.test.faults_of(RUN, client);
    siege.inject(&faults).await;
    // A dead process asks nothing any more, and gives no lease up either.
    dead.store(true, Ordering::SeqCst);
    siege.recover_by_another().await;
    siege.left_nothing_behind().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_time_without_the_api_server() {
    let siege = Siege::lay().await;
    let (client, down) = siege.test.failing_client();
    let faults = siege.test.faults_of(RUN, client);
    siege.inject(&faults).await;
    down.store(true, Ordering::SeqCst);
    let trying = async {
        loop {
            for step in &siege.steps {
                faults.recover(step).await.unwrap_err();
            }
            // As the loop waits between two tries.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(OUTAGE, trying).await.unwrap_err();
    down.store(false, Ordering::SeqCst);
    siege.recover(&faults).await;
    faults.end().await;
    siege.left_nothing_behind().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_targets_that_are_deleted() {
    let siege = Siege::lay().await;
    let faults = siege.test.faults();
    siege.inject(&faults).await;
    let (now, all) = (DeleteParams::background(), ListParams::default());
    let test = &siege.test;
    test.api::<Deployment>()
        .delete_collection(&now, &all)
        .await
        .unwrap();
    test.api::<ConfigMap>()
        .delete_collection(&now, &all)
        .await
        .unwrap();
    for name in names::<Service>(test, "").await {
        // Not the cluster's own, and not a fault's.
        if siege.steps.iter().any(|step| step.name == name) {
            test.api::<Service>().delete(&name, &now).await.unwrap();
        }
    }
    siege.recover(&faults).await;
    faults.end().await;
    siege.nothing_is_left().await;
    let deleted = ["Deployment", "ConfigMap", "Service"];
    siege.what_is_left_is_as_before(&deleted).await;
    siege.test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_targets_that_are_rescheduled() {
    let siege = Siege::lay().await;
    let faults = siege.test.faults();
    siege.inject(&faults).await;
    let pods = siege.test.api::<Pod>();
    let at_once = DeleteParams::default().grace_period(0);
    // The agents as well: a node takes all of its pods with it.
    let all = ListParams::default();
    pods.delete_collection(&at_once, &all).await.unwrap();
    siege.recover(&faults).await;
    faults.end().await;
    siege.left_nothing_behind().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nodes_that_are_gone() {
    let siege = Siege::lay().await;
    let faults = siege.test.faults();
    siege.inject(&faults).await;
    let (at_once, all) = (
        DeleteParams::default().grace_period(0),
        ListParams::default(),
    );
    let nodes = Api::<Node>::all(siege.test.client.clone());
    nodes.delete_collection(&at_once, &all).await.unwrap();
    let pods = siege.test.api::<Pod>();
    pods.delete_collection(&at_once, &all).await.unwrap();
    siege.recover(&faults).await;
    faults.end().await;
    siege.nothing_is_left().await;
    siege.what_is_left_is_as_before(&["Node"]).await;
    siege.test.shutdown().await;
}

/// Nothing can be injected where the namespace does not say that it is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn of_faults_where_none_is_allowed() {
    let siege = Siege::lay().await;
    let forbidden = Patch::Merge(json!({"metadata": {"labels": {"holdfast.dev/chaos": null}}}));
    Api::<Namespace>::all(siege.test.client.clone())
        .patch(NAMESPACE, &PatchParams::default(), &forbidden)
        .await
        .unwrap();
    let faults = siege.test.faults();
    let words = format!("namespace {NAMESPACE} does not carry the label holdfast.dev/chaos");
    for step in &siege.steps {
        let refused = faults.check(step, &[]).await.unwrap_err();
        assert!(refused.0.starts_with(&words), "{}: {refused}", step.name);
        let refused = faults.prepare(step).await.unwrap_err();
        assert!(refused.0.starts_with(&words), "{}: {refused}", step.name);
        faults.inject(step).await.unwrap_err();
    }
    siege.everything_is_as_before().await;
    siege.recover(&faults).await;
    siege.left_nothing_behind().await;
}
