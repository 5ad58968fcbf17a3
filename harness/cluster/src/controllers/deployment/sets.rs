//! The ReplicaSets of one Deployment: the one for the present template, and the
//! old ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::template;
use super::{
    DESIRED_REPLICAS, Fenceposts, MAX_REPLICAS, REVISION, REVISION_HISTORY, TEMPLATE_HASH,
    set_annotation,
};
use crate::controllers::ownership::controller_reference;
use crate::store::Resource;

/// Where kubectl keeps what was applied; it belongs to the Deployment alone.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What a set has of its own.
const NOT_INHERITED: [&str; 5] = [
    LAST_APPLIED,
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];

/// In characters.
const LONGEST_HISTORY: usize = 2000;

/// Oldest first.
#[derive(Debug)]
pub(super) struct Sets {
    pub(super) new: Option<Arc<ReplicaSet>>,
    pub(super) old: Vec<Arc<ReplicaSet>>,
}

impl Sets {
    /// Sorts the sets a Deployment owns. Of several with the present template
    /// the oldest is the new one.
    pub(super) fn new(deployment: &Deployment, mut owned: Vec<Arc<ReplicaSet>>) -> Self {
        owned.sort_by_key(|set| age(set));
        let wanted = deployment
            .spec
            .as_ref()
            .map(|spec| template::canonical(&spec.template));
        let canonical =
            |set: &ReplicaSet| Some(template::canonical(set.spec.as_ref()?.template.as_ref()?));
        let position = owned.iter().position(|set| canonical(set) == wanted);
        let new = position.map(|position| owned.remove(position));
        Self { new, old: owned }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new).map(|set| &**set)
    }

    /// Sum of the wanted sizes.
    pub(super) fn total(&self) -> i32 {
        self.all().map(size).sum()
    }

    /// Sum over the sets of a field of their status.
    pub(super) fn sum(&self, field: impl Fn(&ReplicaSet) -> i32) -> i32 {
        self.all().map(field).sum()
    }

    /// The number the present template's set must have to be the newest.
    pub(super) fn next_revision(&self) -> i64 {
        self.old
            .iter()
            .map(|set| revision(set))
            .max()
            .unwrap_or_default()
            + 1
    }

    /// Whether the number of replicas changed since the sets were last sized.
    pub(super) fn is_scaling_event(&self, replicas: i32) -> bool {
        let desired =
            |set: &ReplicaSet| annotation(set, DESIRED_REPLICAS).and_then(|text| text.parse().ok());
        self.all()
            .filter(|set| size(set) > 0)
            .any(|set| desired(set).is_some_and(|desired: i32| desired != replicas))
    }
}

/// Sorts the oldest first.
pub(super) fn age(set: &ReplicaSet) -> impl Ord + use<> {
    let created = set.metadata.creation_timestamp.as_ref();
    (created.map(|time| time.0), name(set))
}

pub(super) fn name(set: &ReplicaSet) -> String {
    set.metadata.name.clone().unwrap_or_default()
}

/// The wanted number of pods.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or_default()
}

pub(super) fn ready(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or_default()
}

/// The number of pods there are.
pub(super) fn current(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

pub(super) fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a str> {
    set.metadata
        .annotations
        .as_ref()?
        .get(name)
        .map(String::as_str)
}

pub(super) fn revision(set: &ReplicaSet) -> i64 {
    annotation(set, REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// Whether an old set has nothing to do any more.
pub(super) fn is_unused(set: &ReplicaSet) -> bool {
    let observed = set
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    size(set) == 0
        && current(set) == 0
        && observed == set.metadata.generation
        && set.metadata.deletion_timestamp.is_none()
}

/// What the set of the present template takes over from its Deployment.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) struct Inherited {
    /// The values which the set has not yet.
    annotations: BTreeMap<String, String>,
    min_ready_seconds: i32,
}

/// What a set has still to take over. `None` when it has everything.
pub(super) fn to_inherit(
    deployment: &Deployment,
    set: &ReplicaSet,
    next_revision: i64,
) -> Option<Inherited> {
    let mut annotations = inheritable(&deployment.metadata);
    annotations.retain(|name, value| annotation(set, name) != Some(value));
    let former = revision(set);
    if former < next_revision {
        annotations.insert(REVISION.to_owned(), next_revision.to_string());
        if former > 0 {
            let history = annotation(set, REVISION_HISTORY).unwrap_or_default();
            let history = with_revision(history, former);
            annotations.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    let wanted = deployment.spec.as_ref()?.min_ready_seconds;
    let present = set.spec.as_ref()?.min_ready_seconds;
    let min_ready_seconds = wanted.unwrap_or_default();
    let complete = annotations.is_empty() && present.unwrap_or_default() == min_ready_seconds;
    (!complete).then_some(Inherited {
        annotations,
        min_ready_seconds,
    })
}

impl Inherited {
    pub(super) fn give_to(&self, set: &mut Value) {
        for (name, value) in &self.annotations {
            set_annotation(set, name, value.clone());
        }
        set["spec"]["minReadySeconds"] = self.min_ready_seconds.into();
    }
}

/// The annotations of a Deployment which its sets carry too.
fn inheritable(deployment: &ObjectMeta) -> BTreeMap<String, String> {
    let mut annotations = deployment.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !NOT_INHERITED.contains(&name.as_str()));
    annotations
}

/// A list of former revisions with one more; the oldest ones go when it gets
/// too long.
fn with_revision(history: &str, former: i64) -> String {
    let former = former.to_string();
    let mut kept: Vec<&str> = history.split(',').filter(|one| !one.is_empty()).collect();
    kept.push(&former);
    let length = |list: &[&str]| list.iter().map(|one| one.len() + 1).sum::<usize>();
    while length(&kept) > LONGEST_HISTORY {
        kept.remove(0);
    }
    kept.join(",")
}

/// The name of the set for a Deployment's present template.
pub(super) fn name_for(deployment: &Deployment) -> String {
    let hash = hash(deployment);
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    format!("{name}-{hash}")
}

fn hash(deployment: &Deployment) -> String {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    let status = deployment.status.as_ref();
    let collisions = status.and_then(|status| status.collision_count);
    template.map_or_else(String::new, |template| {
        template::hash(template, collisions.unwrap_or_default())
    })
}

/// The ReplicaSet for a Deployment's present template.
pub(super) fn of_template(deployment: &Deployment, replicas: i32, revision: i64) -> Value {
    let metadata = &deployment.metadata;
    let spec = deployment.spec.clone().unwrap_or_default();
    let posts = Fenceposts::of(&spec);
    let hash = hash(deployment);
    let mut template = spec.template;
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector
        .match_labels
        .get_or_insert_default()
        .insert(TEMPLATE_HASH.to_owned(), hash.clone());
    let mut annotations = inheritable(metadata);
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.insert(DESIRED_REPLICAS.to_owned(), posts.replicas.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), posts.max_total().to_string());
    json!({
        "metadata": {
            "name": name_for(deployment),
            "namespace": metadata.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [controller_reference(&Resource::Deployments, metadata)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": spec.min_ready_seconds.unwrap_or_default(),
            "selector": selector,
            "template": template,
        },
        "status": {"replicas": 0},
    })
}
