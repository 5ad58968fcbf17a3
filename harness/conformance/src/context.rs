//! What a check has to work with: a cluster, names and labels of its own, and the victim.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::check::{Shortfall, failed};
use crate::journal::Journal;
use crate::transcript::Transcript;
use crate::value::merged;
use crate::victim;

/// Objects of one run.
pub(crate) const RUN_LABEL: &str = "holdfast.dev/conformance-run";
/// Objects of one check.
pub(crate) const CHECK_LABEL: &str = "holdfast.dev/conformance-check";
/// Objects that belong together within a check.
const PART_LABEL: &str = "holdfast.dev/conformance-part";

/// Starting a program, and hearing that it runs: what takes longer will not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// How exactly a cluster is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// How much later than the rule says something may be seen, in seconds.
    #[serde(rename = "toleranceSeconds", serialize_with = "in_seconds")]
    pub epsilon: Duration,
    /// Whether the cluster is the local one, of which more is known.
    pub local: bool,
}

fn in_seconds<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(value.as_secs_f64())
}

impl Bounds {
    /// Of the local cluster, in the same process.
    pub const LOCAL: Self = Self {
        epsilon: Duration::from_secs(2),
        local: true,
    };
    /// Of a cluster behind a network.
    pub const REMOTE: Self = Self {
        epsilon: Duration::from_secs(5),
        local: false,
    };
}

/// How kubectl reaches the cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    /// The program.
    pub program: PathBuf,
    /// The kubeconfig, unless it is the user's own.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it, unless it is the current one.
    pub context: Option<String>,
}

/// The means of one check.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) bounds: Bounds,
    pub(crate) victim_image: String,
    pub(crate) kubectl: Option<Kubectl>,
    /// The run's identity, different for each.
    pub(crate) run: String,
    pub(crate) number: u16,
}

impl Context {
    /// The name of an object, which no other check and no other run uses.
    pub(crate) fn name(&self, part: &str) -> String {
        format!("c{}-{}-{part}", self.number, self.run)
    }

    /// The labels of everything that belongs to a part.
    pub(crate) fn labels(&self, part: &str) -> Value {
        json!({
            RUN_LABEL: self.run,
            CHECK_LABEL: self.number.to_string(),
            PART_LABEL: part,
        })
    }

    /// A label selector for everything that belongs to a part.
    pub(crate) fn selector(&self, part: &str) -> String {
        let Self { run, number, .. } = self;
        format!("{RUN_LABEL}={run},{CHECK_LABEL}={number},{PART_LABEL}={part}")
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object.
    pub(crate) async fn create<K>(&self, object: Value) -> Result<K, Shortfall>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object)
            .map_err(|error| failed(format!("the check's own object is wrong: {error}")))?;
        Ok(self.api().create(&PostParams::default(), &object).await?)
    }

    /// Changes an object by a merge patch.
    pub(crate) async fn patch<K>(&self, name: &str, change: Value) -> Result<K, Shortfall>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let patch = Patch::Merge(change);
        let api = self.api::<K>();
        Ok(api.patch(name, &PatchParams::default(), &patch).await?)
    }

    /// Changes an object by a strategic merge patch, which finds containers by their names.
    pub(crate) async fn patch_strategically<K>(
        &self,
        name: &str,
        change: Value,
    ) -> Result<K, Shortfall>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let patch = Patch::Strategic(change);
        let api = self.api::<K>();
        Ok(api.patch(name, &PatchParams::default(), &patch).await?)
    }

    /// Deletes an object as `kubectl delete` does.
    pub(crate) async fn delete<K>(&self, name: &str) -> Result<(), Shortfall>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        api.delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Waits until an object is as `wanted`, and returns it. Failing to, it fails with `what`
    /// should have come about.
    pub(crate) async fn until<K>(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        wanted: impl Condition<K>,
    ) -> Result<K, Shortfall>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
        K::DynamicType: Default,
    {
        let reached = await_condition(self.api::<K>(), name, wanted);
        match timeout(within, reached).await {
            Ok(Ok(Some(object))) => Ok(object),
            Ok(Ok(None)) => Err(failed(format!("{name} was gone before: {what}"))),
            Ok(Err(error)) => Err(failed(format!("{name} cannot be watched: {error}"))),
            Err(_) => Err(failed(format!("not within {} s: {what}", within.as_secs()))),
        }
    }

    /// Waits until a pod is ready.
    pub(crate) async fn until_ready(&self, pod: &str) -> Result<Pod, Shortfall> {
        let ready = |pod: Option<&Pod>| pod.is_some_and(is_ready);
        self.until(pod, "the pod is ready", PATIENCE, ready).await
    }

    /// Waits until an object is gone.
    pub(crate) async fn until_gone<K>(&self, name: &str, within: Duration) -> Result<(), Shortfall>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
        K::DynamicType: Default,
    {
        let gone = await_condition(self.api::<K>(), name, |object: Option<&K>| object.is_none());
        match timeout(within, gone).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(format!("{name} cannot be watched: {error}"))),
            Err(_) => Err(failed(format!(
                "{name} is still there after {} s",
                within.as_secs()
            ))),
        }
    }

    /// Records every change of a part's objects of a kind from now on.
    pub(crate) async fn journal<K>(&self, part: &str) -> Result<Journal<K>, Shortfall>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default,
    {
        Journal::of(self.api(), &self.selector(part)).await
    }

    /// Follows the log of a pod's only container.
    pub(crate) fn transcript(&self, pod: &str) -> Transcript {
        Transcript::of(self.api(), pod)
    }

    /// A part's objects of a kind.
    pub(crate) async fn list<K>(&self, part: &str) -> Result<Vec<K>, Shortfall>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let labels = ListParams::default().labels(&self.selector(part));
        Ok(self.api::<K>().list(&labels).await?.items)
    }

    /// The events about the object of this name.
    pub(crate) async fn events_of(&self, name: &str) -> Result<Vec<Event>, Shortfall> {
        let fields = format!("involvedObject.name={name}");
        let events = self.api::<Event>();
        Ok(events
            .list(&ListParams::default().fields(&fields))
            .await?
            .items)
    }

    /// A container `victim` with the arguments of [`victim`].
    pub(crate) fn victim(&self, arguments: &[&str]) -> Value {
        json!({
            "name": "victim",
            "image": self.victim_image,
            "args": arguments,
            "ports": [{"containerPort": victim::PORT}],
        })
    }

    /// A pod of one container, with `changes` merged into its spec.
    pub(crate) fn pod(&self, part: &str, container: Value, changes: Value) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name(part), "labels": self.labels(part)},
            "spec": merged(pod_spec(container), changes),
        })
    }

    /// A Deployment whose pods have one container, with `changes` merged into its spec.
    pub(crate) fn deployment(&self, part: &str, container: Value, changes: Value) -> Value {
        let spec = json!({
            "selector": {"matchLabels": self.labels(part)},
            "template": {
                "metadata": {"labels": self.labels(part)},
                "spec": pod_spec(container),
            },
        });
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name(part), "labels": self.labels(part)},
            "spec": merged(spec, changes),
        })
    }

    /// A Service for the pods of a part: its port 80 is theirs for the victim.
    pub(crate) fn service(&self, part: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name(part), "labels": self.labels(part)},
            "spec": {
                "selector": self.labels(part),
                "ports": [{"port": 80, "targetPort": victim::PORT}],
            },
        })
    }
}

/// Of one container, which has a moment to end.
fn pod_spec(container: Value) -> Value {
    let mut spec = json!({"terminationGracePeriodSeconds": 5});
    spec["containers"] = Value::Array(vec![container]);
    spec
}

/// A readiness probe of the victim, each second. Nothing but the victim's word decides: a machine
/// that is busy with other checks may take its time to answer.
pub(crate) fn readiness_probe() -> Value {
    json!({
        "httpGet": {"path": "/ready", "port": victim::PORT},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
    })
}

/// Whether a pod's condition Ready is True.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    conditions
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
