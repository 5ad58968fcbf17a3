//! A Deployment under observation: what it, its ReplicaSets and its pods do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::check::Shortfall;
use crate::context::{Context, readiness_probe};
use crate::journal::{Entry, Journal, states};

/// Every part of a rollout, also of ten pods, is over by then.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

const PART: &str = "app";

/// What happened since it was created, or since [`Rollout::change`].
pub(super) struct Rollout {
    context: Context,
    pub(super) name: String,
    pub(super) deployments: Journal<Deployment>,
    pub(super) sets: Journal<ReplicaSet>,
    pub(super) pods: Journal<Pod>,
}

impl Rollout {
    /// Creates a Deployment of victims that tell by a probe when they are ready. `spec` is merged
    /// into its spec.
    pub(super) async fn begin(
        context: &Context,
        arguments: &[&str],
        spec: Value,
    ) -> Result<Self, Shortfall> {
        let mut container = context.victim(arguments);
        container["readinessProbe"] = readiness_probe();
        let object = context.deployment(PART, container, spec);
        context.create::<Deployment>(object).await?;
        Self::observe(context).await
    }

    /// The same, and waits until the rollout is complete.
    pub(super) async fn complete(
        context: &Context,
        arguments: &[&str],
        spec: Value,
    ) -> Result<Self, Shortfall> {
        let rollout = Self::begin(context, arguments, spec).await?;
        rollout.until_complete().await?;
        // What follows is about what happens from here on.
        Self::observe(context).await
    }

    async fn observe(context: &Context) -> Result<Self, Shortfall> {
        Ok(Self {
            context: context.clone(),
            name: context.name(PART),
            deployments: context.journal(PART).await?,
            sets: context.journal(PART).await?,
            pods: context.journal(PART).await?,
        })
    }

    /// Changes the spec by a merge patch.
    pub(super) async fn patch(&self, spec: Value) -> Result<Deployment, Shortfall> {
        let change = json!({"spec": spec});
        self.context.patch::<Deployment>(&self.name, change).await
    }

    /// Releases another version, the victim with these arguments.
    pub(super) async fn release(
        &self,
        version: u32,
        arguments: &[&str],
    ) -> Result<Deployment, Shortfall> {
        let container = json!({
            "name": "victim",
            "args": arguments,
            "env": [{"name": "VERSION", "value": version.to_string()}],
        });
        let pod = json!({"spec": {"containers": [container]}});
        let change = json!({"spec": {"template": pod}});
        let changed = self.context.patch_strategically(&self.name, change);
        changed.await
    }

    /// Waits until the Deployment, as it is now, is rolled out.
    pub(super) async fn until_complete(&self) -> Result<(), Shortfall> {
        let now = self.context.api::<Deployment>().get(&self.name).await?;
        let generation = now.metadata.generation;
        self.deployments
            .until("the rollout is complete", PATIENCE, |entries| {
                let last = entries.last()?;
                let current = last.object.metadata.generation >= generation;
                (current && is_complete(&last.object)).then_some(())
            })
            .await
    }

    /// The ReplicaSets as they are now, the newest revision last.
    pub(super) async fn sets_now(&self) -> Result<Vec<ReplicaSet>, Shortfall> {
        let mut sets = self.context.list::<ReplicaSet>(PART).await?;
        sets.sort_by_key(revision);
        Ok(sets)
    }

    /// The largest sum of all ReplicaSets' spec.replicas at any event.
    pub(super) fn largest_sum(&self) -> i32 {
        let entries = self.sets.entries();
        let sums = states(&entries).map(|(_, sets)| sum_of_replicas(&sets));
        sums.max().unwrap_or(0)
    }

    /// The smallest number of available pods that the Deployment told.
    pub(super) fn fewest_available(&self) -> i32 {
        let entries = self.deployments.entries();
        let available = entries.iter().map(|entry| available(&entry.object));
        available.min().unwrap_or(0)
    }
}

pub(super) fn is_complete(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let wanted = wanted.unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) == wanted
            && status.replicas.unwrap_or(0) == wanted
            && status.available_replicas.unwrap_or(0) == wanted
    })
}

pub(super) fn available(deployment: &Deployment) -> i32 {
    let status = deployment.status.as_ref();
    status
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    let spec = set.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

fn sum_of_replicas(sets: &BTreeMap<String, Arc<ReplicaSet>>) -> i32 {
    sets.values().map(|set| replicas(set)).sum()
}

pub(super) fn revision(set: &ReplicaSet) -> u64 {
    let text = set.annotations().get("deployment.kubernetes.io/revision");
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The ReplicaSet that a pod is of, by the label that tells it.
pub(super) fn hash(pod: &Pod) -> String {
    let label = pod.labels().get("pod-template-hash");
    label.cloned().unwrap_or_default()
}

pub(super) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The position of the first entry that is so.
pub(super) fn first<K>(entries: &[Entry<K>], wanted: impl Fn(&K) -> bool) -> Option<usize> {
    entries.iter().position(|entry| wanted(&entry.object))
}
