//! Deployments: moving from one template to the next by scaling ReplicaSets.
//!
//! `plan` decides one step over values; `carry_out` does it. A change made by
//! a step wakes the controller for the next one.

mod fenceposts;
mod proportional;
mod rolling;
mod sets;
mod status;
mod template;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::ownership::{Claim, adopt, claim, controller_reference, related, release};
use super::replica_set::is_terminal;
use super::{Controller, concerned, ownership};
use crate::clock;
use crate::events::{Recorder, Severity};
use crate::object;
use crate::selector::Selector;
use crate::store::{
    DeleteOptions, Event, EventKind, Key, Kinds, Resource, Store, StoreError, Stored,
};
use fenceposts::Fenceposts;
use sets::{Inherited, Sets};

const NAME: &str = "deployment-controller";

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const TEMPLATE_HASH: &str = "pod-template-hash";

/// One thing to do.
#[derive(Clone, PartialEq, Debug)]
enum Action {
    Adopt(String),
    Release(String),
    /// A ReplicaSet for the present template.
    Create {
        replicas: i32,
        revision: i64,
    },
    Scale {
        name: String,
        from: i32,
        to: i32,
    },
    /// The set of the present template takes over what the Deployment has.
    Inherit {
        name: String,
        inherited: Inherited,
    },
    DeleteSet(String),
}

#[derive(Debug)]
struct Plan {
    actions: Vec<Action>,
    /// The revision of the present template, for the Deployment's annotation.
    revision: Option<i64>,
    status: DeploymentStatus,
    /// When progress will be overdue.
    again: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Deployments {
    store: Store,
    recorder: Recorder,
}

impl Deployments {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            recorder: Recorder::new(store.clone(), NAME),
        }
    }
}

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watched(&self) -> Kinds {
        Kinds::Only(&[Resource::Deployments, Resource::ReplicaSets, Resource::Pods])
    }

    fn concerned(&self, event: &Event) -> Vec<Key> {
        match event.resource {
            Resource::Deployments => vec![concerned::itself(event)],
            Resource::ReplicaSets => {
                let mut keys = concerned::controllers(event, &Resource::Deployments);
                keys.extend(concerned::adopting(
                    &self.store,
                    event,
                    &Resource::Deployments,
                ));
                keys
            }
            // Recreate waits for the end of the last pod.
            _ if has_ended(event) => concerned::controllers(event, &Resource::ReplicaSets)
                .iter()
                .filter_map(|set| {
                    self.store
                        .get(set.resource.clone(), &set.namespace, &set.name)
                })
                .filter_map(|set| concerned::controller(&set, &Resource::Deployments))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        let Some(about) = self
            .store
            .get(key.resource.clone(), &key.namespace, &key.name)
        else {
            return Ok(None);
        };
        let Some((deployment, sets)) = with_sets(&self.store, &about) else {
            return Ok(None);
        };
        let pods = pods_of(&self.store, &sets);
        let Some(plan) = plan(&deployment, &sets, &pods, clock::now()) else {
            return Ok(None);
        };
        carry_out(&self.store, &self.recorder, &deployment, &about, &plan)?;
        Ok(plan.again)
    }
}

/// Whether a pod has just ended, or gone.
fn has_ended(event: &Event) -> bool {
    let over = |pod: &Value| matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed");
    let before = event.previous.as_deref();
    event.kind == EventKind::Deleted
        || (over(&event.object) && !before.is_some_and(|before| over(before)))
}

type WithSets = (Arc<Deployment>, Vec<Arc<ReplicaSet>>);

fn with_sets(store: &Store, about: &Stored) -> Option<WithSets> {
    let deployment: Arc<Deployment> = about.typed()?;
    let selector = Selector::of_label_selector(&deployment.spec.as_ref()?.selector)?;
    let sets = related(
        store,
        Resource::ReplicaSets,
        &deployment.metadata,
        &selector,
    );
    Some((deployment, sets))
}

fn pods_of(store: &Store, sets: &[Arc<ReplicaSet>]) -> Vec<Arc<Pod>> {
    let uids = sets.iter().filter_map(|set| set.metadata.uid.as_deref());
    uids.flat_map(|uid| store.dependents(uid))
        .filter(|(key, _)| key.resource == Resource::Pods)
        .filter_map(|(_, pod)| pod.typed())
        .collect()
}

/// Decides the next step, given the ReplicaSets which may be its own, and their
/// pods.
fn plan(
    deployment: &Deployment,
    all: &[Arc<ReplicaSet>],
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> Option<Plan> {
    let spec = deployment.spec.as_ref()?;
    let selector = Selector::of_label_selector(&spec.selector)?;
    let mut actions = Vec::new();
    let mut owned: Vec<Arc<ReplicaSet>> = Vec::new();
    for set in all {
        let name = || set.metadata.name.clone().unwrap_or_default();
        match claim(&deployment.metadata, &selector, &set.metadata) {
            Claim::Owned => owned.push(Arc::clone(set)),
            Claim::Adoptable => {
                actions.push(Action::Adopt(name()));
                owned.push(Arc::clone(set));
            }
            Claim::Released => actions.push(Action::Release(name())),
            Claim::Foreign => {}
        }
    }
    let sets = Sets::new(deployment, owned);
    let posts = Fenceposts::of(spec);
    if deployment.metadata.deletion_timestamp.is_none() {
        actions.extend(step(deployment, spec, &sets, &posts, pods));
    }
    let revision = revision(spec, &sets);
    let created = actions
        .iter()
        .any(|action| matches!(action, Action::Create { .. }));
    let found = status::Found {
        deployment,
        sets: &sets,
        posts: &posts,
        created,
    };
    let (status, again) = status::next(&found, now);
    Some(Plan {
        actions,
        revision,
        status,
        again,
    })
}

type Spec = k8s_openapi::api::apps::v1::DeploymentSpec;

fn step(
    deployment: &Deployment,
    spec: &Spec,
    sets: &Sets,
    posts: &Fenceposts,
    pods: &[Arc<Pod>],
) -> Vec<Action> {
    let paused = spec.paused == Some(true);
    if let Some(new) = &sets.new
        && let Some(inherited) = sets::to_inherit(deployment, new, sets.next_revision())
    {
        return vec![Action::Inherit {
            name: sets::name(new),
            inherited,
        }];
    }
    let recreates = spec
        .strategy
        .as_ref()
        .is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"));
    if paused || sets.is_scaling_event(posts.replicas) {
        let actions = proportional::scale(sets, posts, recreates);
        if paused && actions.is_empty() {
            return clean_up(spec, sets);
        }
        return actions;
    }
    let actions = match recreates {
        true => recreate(sets, posts, pods),
        false => rolling::step(sets, posts),
    };
    if actions.is_empty() && status::is_complete(sets, posts.replicas) {
        return clean_up(spec, sets);
    }
    actions
}

/// First no pod of an old template is left, then the new ones come.
fn recreate(sets: &Sets, posts: &Fenceposts, pods: &[Arc<Pod>]) -> Vec<Action> {
    let down: Vec<_> = sets.old.iter().filter_map(|set| scaled(set, 0)).collect();
    if !down.is_empty() {
        return down;
    }
    let belongs_to_old = |pod: &Pod| {
        let owner = ownership::controller_of(&pod.metadata).map(|owner| &owner.uid);
        owner.is_some()
            && sets
                .old
                .iter()
                .any(|set| set.metadata.uid.as_ref() == owner)
    };
    if pods
        .iter()
        .any(|pod| belongs_to_old(pod) && !is_terminal(pod))
    {
        return Vec::new();
    }
    match &sets.new {
        Some(new) => scaled(new, posts.replicas).into_iter().collect(),
        None => vec![Action::Create {
            replicas: posts.replicas,
            revision: sets.next_revision(),
        }],
    }
}

/// Scales a set unless it has that size.
fn scaled(set: &ReplicaSet, to: i32) -> Option<Action> {
    let from = sets::size(set);
    (from != to).then(|| Action::Scale {
        name: sets::name(set),
        from,
        to,
    })
}

/// Removes the oldest sets beyond the history limit, if they are unused.
fn clean_up(spec: &Spec, sets: &Sets) -> Vec<Action> {
    let Ok(limit) = usize::try_from(spec.revision_history_limit.unwrap_or(10)) else {
        return Vec::new();
    };
    let present = |set: &&Arc<ReplicaSet>| set.metadata.deletion_timestamp.is_none();
    let mut history: Vec<_> = sets.old.iter().filter(present).collect();
    history.sort_by_key(|set| sets::revision(set));
    let surplus = history.len().saturating_sub(limit);
    history
        .into_iter()
        .take(surplus)
        .filter(|set| sets::is_unused(set))
        .map(|set| Action::DeleteSet(sets::name(set)))
        .collect()
}

fn revision(spec: &Spec, sets: &Sets) -> Option<i64> {
    match &sets.new {
        Some(new) => Some(sets::revision(new)),
        None if spec.paused == Some(true) => None,
        None => Some(sets.next_revision()),
    }
}

fn carry_out(
    store: &Store,
    recorder: &Recorder,
    deployment: &Deployment,
    about: &Value,
    plan: &Plan,
) -> Result<(), StoreError> {
    for action in &plan.actions {
        match act(store, recorder, deployment, about, action) {
            Err(StoreError::AlreadyExists { .. }) => return note_collision(store, about),
            outcome => outcome?,
        }
    }
    let status = serde_json::to_value(&plan.status).unwrap_or_default();
    let (namespace, name) = (object::namespace(about), object::name(about));
    let uid = object::uid(about);
    store.update(Resource::Deployments, namespace, name, |object| {
        if object::uid(object) != uid {
            return;
        }
        object["status"] = status;
        if let Some(revision) = plan.revision {
            set_annotation(object, REVISION, revision.to_string());
        }
    })?;
    Ok(())
}

/// The name of a set is taken by someone else's: the next try takes another.
fn note_collision(store: &Store, about: &Value) -> Result<(), StoreError> {
    let (namespace, name) = (object::namespace(about), object::name(about));
    let update = store.update(Resource::Deployments, namespace, name, |object| {
        let collisions = object["status"]["collisionCount"].as_i64();
        object::map_at(object, "status")["collisionCount"] =
            (collisions.unwrap_or_default() + 1).into();
    });
    update.map(drop)
}

fn act(
    store: &Store,
    recorder: &Recorder,
    deployment: &Deployment,
    about: &Value,
    action: &Action,
) -> Result<(), StoreError> {
    let namespace = object::namespace(about);
    let update = |name: &str, change: &dyn Fn(&mut Value)| {
        store
            .update(Resource::ReplicaSets, namespace, name, |set| change(set))
            .map(drop)
    };
    let scaled_event = |set: &str, from: i32, to: i32| {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
        recorder.record(about, Severity::Normal, "ScalingReplicaSet", &message);
    };
    match action {
        Action::Adopt(name) => {
            let reference = controller_reference(&Resource::Deployments, &deployment.metadata);
            update(name, &|set| adopt(set, reference.clone()))
        }
        Action::Release(name) => update(name, &|set| release(set, object::uid(about))),
        Action::Create { replicas, revision } => {
            let set = store.create(
                Resource::ReplicaSets,
                sets::of_template(deployment, *replicas, *revision),
            )?;
            if *replicas > 0 {
                scaled_event(object::name(&set), 0, *replicas);
            }
            Ok(())
        }
        Action::Scale { name, from, to } => {
            update(name, &|set| resize(deployment, set, *to))?;
            if from != to {
                scaled_event(name, *from, *to);
            }
            Ok(())
        }
        Action::Inherit { name, inherited } => update(name, &|set| inherited.give_to(set)),
        Action::DeleteSet(name) => store
            .delete(
                Resource::ReplicaSets,
                namespace,
                name,
                &DeleteOptions::default(),
            )
            .map(drop),
    }
}

/// Gives a set its size, and notes the one of the whole by which it was found.
fn resize(deployment: &Deployment, set: &mut Value, to: i32) {
    let posts = deployment
        .spec
        .as_ref()
        .map(Fenceposts::of)
        .unwrap_or_default();
    set["spec"]["replicas"] = to.into();
    set_annotation(set, DESIRED_REPLICAS, posts.replicas.to_string());
    set_annotation(set, MAX_REPLICAS, posts.max_total().to_string());
}

fn set_annotation(object: &mut Value, name: &str, value: String) {
    let metadata = object::map_at(object, "metadata");
    object::map_at(metadata, "annotations")[name] = value.into();
}

#[cfg(test)]
mod tests;
