//! The ReplicaSets of one Deployment: the one for the present template, and the
//! old ones.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use super::{
    DESIRED_REPLICAS, Fenceposts, MAX_REPLICAS, REVISION, REVISION_HISTORY, TEMPLATE_HASH,
    set_annotation,
};
use crate::controllers::ownership::controller_reference;
use crate::object;
use crate::store::Resource;

/// Where kubectl keeps what was applied; it belongs to the Deployment alone.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const HASH_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

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
        owned.sort_by_key(|set| {
            (
                set.metadata.creation_timestamp.clone().map(|time| time.0),
                name(set),
            )
        });
        let wanted = deployment
            .spec
            .as_ref()
            .map(|spec| canonical(&spec.template));
        let template = |set: &ReplicaSet| set.spec.as_ref()?.template.as_ref().map(canonical);
        let position = owned.iter().position(|set| template(set) == wanted);
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

/// Gives a set a new revision and notes the one it had.
pub(super) fn set_revision(set: &mut Value, revision: i64) {
    let annotations = object::string_map(set, "/metadata/annotations");
    if let Some(former) = annotations.get(REVISION) {
        let history = match annotations.get(REVISION_HISTORY) {
            Some(history) if !history.is_empty() => format!("{history},{former}"),
            _ => former.clone(),
        };
        set_annotation(set, REVISION_HISTORY, history);
    }
    set_annotation(set, REVISION, revision.to_string());
}

/// The ReplicaSet for a Deployment's present template.
pub(super) fn of_template(deployment: &Deployment, replicas: i32, revision: i64) -> Value {
    let metadata = &deployment.metadata;
    let spec = deployment.spec.clone().unwrap_or_default();
    let posts = Fenceposts::of(&spec);
    let hash = template_hash(&spec.template);
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
    let mut annotations = metadata.annotations.clone().unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.insert(DESIRED_REPLICAS.to_owned(), posts.replicas.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), posts.max_total().to_string());
    json!({
        "metadata": {
            "name": format!("{}-{hash}", metadata.name.as_deref().unwrap_or_default()),
            "namespace": metadata.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [controller_reference(Resource::Deployments, metadata)],
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

/// A template without what makes no difference: the hash label, empty fields.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(TEMPLATE_HASH);
    }
    without_empty(value)
}

fn without_empty(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name, without_empty(value)));
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(elements) => elements.into_iter().map(without_empty).collect(),
        plain => plain,
    }
}

/// A short name for a template: FNV-1a, written without vowels.
fn template_hash(template: &PodTemplateSpec) -> String {
    let text = canonical(template).to_string();
    let mut hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let base = 27;
    let mut name = String::new();
    while hash > 0 {
        name.push(char::from(HASH_ALPHABET[(hash % base) as usize]));
        hash /= base;
    }
    name
}
