//! ReplicaSets: as many pods as asked for.

pub(super) mod victims;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::ownership::{Claim, adopt, claim, controller_reference, related, release};
use super::{Controller, concerned};
use crate::events::{Recorder, Severity};
use crate::selector::Selector;
use crate::store::{DeleteOptions, Event, Key, Kinds, Resource, Store, StoreError, Stored};
use crate::{clock, object, quality_of_service};

const NAME: &str = "replicaset-controller";

/// How many pods are created or deleted at a time.
const MOST_AT_ONCE: usize = 500;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What to do for one ReplicaSet.
#[derive(Debug, Default)]
struct Plan {
    adopt: Vec<String>,
    release: Vec<String>,
    create: usize,
    delete: Vec<String>,
    status: ReplicaSetStatus,
    /// When a pod will have been ready for long enough.
    again: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct ReplicaSets {
    store: Store,
    recorder: Recorder,
}

impl ReplicaSets {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            recorder: Recorder::new(store.clone(), NAME),
        }
    }
}

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watched(&self) -> Kinds {
        Kinds::Only(&[Resource::ReplicaSets, Resource::Pods])
    }

    fn concerned(&self, event: &Event) -> Vec<Key> {
        if event.resource == Resource::ReplicaSets {
            return vec![concerned::itself(event)];
        }
        let mut keys = concerned::controllers(event, &Resource::ReplicaSets);
        keys.extend(concerned::adopting(
            &self.store,
            event,
            &Resource::ReplicaSets,
        ));
        keys
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        let Some(about) = self
            .store
            .get(key.resource.clone(), &key.namespace, &key.name)
        else {
            return Ok(None);
        };
        let Some((set, pods)) = with_pods(&self.store, &about) else {
            return Ok(None);
        };
        let Some(plan) = plan(&set, &pods, clock::now()) else {
            return Ok(None);
        };
        carry_out(&self.store, &self.recorder, &set, &about, &plan)?;
        Ok(plan.again)
    }
}

fn with_pods(store: &Store, about: &Stored) -> Option<(Arc<ReplicaSet>, Vec<Arc<Pod>>)> {
    let set: Arc<ReplicaSet> = about.typed()?;
    let selector = Selector::of_label_selector(&set.spec.as_ref()?.selector)?;
    let pods = related(store, Resource::Pods, &set.metadata, &selector);
    Some((set, pods))
}

/// Decides what is to be done, given the pods which may be its own.
fn plan(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Option<Plan> {
    let spec = set.spec.as_ref()?;
    let selector = Selector::of_label_selector(&spec.selector)?;
    let mut plan = Plan::default();
    let mut active: Vec<&Pod> = Vec::new();
    for pod in pods {
        let name = || pod.metadata.name.clone().unwrap_or_default();
        match claim(&set.metadata, &selector, &pod.metadata) {
            Claim::Owned if is_active(pod) => active.push(pod),
            Claim::Adoptable if is_active(pod) => {
                plan.adopt.push(name());
                active.push(pod);
            }
            Claim::Released if is_active(pod) => plan.release.push(name()),
            Claim::Owned | Claim::Adoptable | Claim::Released | Claim::Foreign => {}
        }
    }
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    if set.metadata.deletion_timestamp.is_none() {
        plan.create = wanted.saturating_sub(active.len()).min(MOST_AT_ONCE);
        let surplus = active.len().saturating_sub(wanted).min(MOST_AT_ONCE);
        plan.delete = victims::choose(&active, surplus, now);
    }
    let min_ready = SignedDuration::from_secs(spec.min_ready_seconds.unwrap_or_default().into());
    plan.again = active
        .iter()
        .filter_map(|pod| available_in(pod, min_ready, now))
        .min();
    plan.status = status(set, &active, min_ready, now);
    Some(plan)
}

/// Neither ended nor on its way out: the replacement of a pod is created as
/// soon as its deletion is asked for.
pub(super) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

pub(super) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The condition `Ready` when it is true.
pub(super) fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    ready.filter(|condition| condition.status == "True")
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    ready_condition(pod)?
        .last_transition_time
        .as_ref()
        .map(|time| time.0)
}

fn is_available(pod: &Pod, min_ready: SignedDuration, now: Timestamp) -> bool {
    let long_enough = || ready_since(pod).is_some_and(|since| since + min_ready < now);
    ready_condition(pod).is_some() && (min_ready.is_zero() || long_enough())
}

/// How long until a ready pod may count as available. Times have whole seconds,
/// hence one more.
fn available_in(pod: &Pod, min_ready: SignedDuration, now: Timestamp) -> Option<Duration> {
    if is_available(pod, min_ready, now) {
        return None;
    }
    let due = ready_since(pod)? + min_ready + SignedDuration::from_secs(1);
    Some(
        Duration::try_from(due.duration_since(now))
            .unwrap_or_default()
            .max(Duration::from_millis(100)),
    )
}

fn status(
    set: &ReplicaSet,
    active: &[&Pod],
    min_ready: SignedDuration,
    now: Timestamp,
) -> ReplicaSetStatus {
    let count = |matching: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| matching(pod)).count()).unwrap_or(i32::MAX)
    };
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let template_labels = template.and_then(|template| template.metadata.as_ref()?.labels.clone());
    let template_selector = Selector::of_labels(&template_labels.unwrap_or_default());
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: Some(count(&|pod| {
            template_selector.matches(&pod.metadata.labels.clone().unwrap_or_default())
        })),
        ready_replicas: Some(count(&|pod| ready_condition(pod).is_some())),
        available_replicas: Some(count(&|pod| is_available(pod, min_ready, now))),
        observed_generation: set.metadata.generation,
        ..ReplicaSetStatus::default()
    }
}

fn carry_out(
    store: &Store,
    recorder: &Recorder,
    set: &ReplicaSet,
    about: &Value,
    plan: &Plan,
) -> Result<(), StoreError> {
    let (namespace, name) = (object::namespace(about), object::name(about));
    let uid = object::uid(about);
    for pod in &plan.adopt {
        let reference = controller_reference(&Resource::ReplicaSets, &set.metadata);
        store.update(Resource::Pods, namespace, pod, |pod| adopt(pod, reference))?;
    }
    for pod in &plan.release {
        store.update(Resource::Pods, namespace, pod, |pod| release(pod, uid))?;
    }
    let outcome = create_pods(store, recorder, set, about, plan.create)
        .map_err(|error| ("FailedCreate", error))
        .and_then(|()| {
            delete_pods(store, recorder, about, &plan.delete)
                .map_err(|error| ("FailedDelete", error))
        });
    let failure = outcome.as_ref().err();
    let mut status = plan.status.clone();
    status.conditions = conditions(set, failure, clock::now());
    let status = serde_json::to_value(&status).unwrap_or_default();
    store.update(Resource::ReplicaSets, namespace, name, |set| {
        if object::uid(set) == uid {
            set["status"] = status;
        }
    })?;
    outcome.map_err(|(_, error)| error)
}

/// Creates pods, one after the other: after the first failure no other is tried.
fn create_pods(
    store: &Store,
    recorder: &Recorder,
    set: &ReplicaSet,
    about: &Value,
    count: usize,
) -> Result<(), StoreError> {
    for _ in 0..count {
        match store.create(Resource::Pods, new_pod(set)) {
            Ok(pod) => {
                let message = format!("Created pod: {}", object::name(&pod));
                recorder.record(about, Severity::Normal, "SuccessfulCreate", &message);
            }
            // This set will be deleted too.
            Err(StoreError::NamespaceTerminating { .. }) => return Ok(()),
            Err(error) => {
                let message = format!("Error creating: {error}");
                recorder.record(about, Severity::Warning, "FailedCreate", &message);
                return Err(error);
            }
        }
    }
    Ok(())
}

fn delete_pods(
    store: &Store,
    recorder: &Recorder,
    about: &Value,
    pods: &[String],
) -> Result<(), StoreError> {
    for pod in pods {
        let namespace = object::namespace(about);
        match store.delete(Resource::Pods, namespace, pod, &DeleteOptions::default()) {
            Ok(_) => {
                let message = format!("Deleted pod: {pod}");
                recorder.record(about, Severity::Normal, "SuccessfulDelete", &message);
            }
            // Someone else was faster.
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => {
                let message = format!("Error deleting: {error}");
                recorder.record(about, Severity::Warning, "FailedDelete", &message);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Tells of a failure as long as it lasts, beginning with the first.
fn conditions(
    set: &ReplicaSet,
    failure: Option<&(&str, StoreError)>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let before = set
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone());
    let mut conditions = before.unwrap_or_default();
    let is_failure = |condition: &ReplicaSetCondition| condition.type_ == REPLICA_FAILURE;
    match failure {
        None => conditions.retain(|condition| !is_failure(condition)),
        Some(_) if conditions.iter().any(is_failure) => {}
        Some((reason, error)) => conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some((*reason).to_owned()),
            message: Some(error.to_string()),
            last_transition_time: Some(Time(now)),
        }),
    }
    (!conditions.is_empty()).then_some(conditions)
}

fn new_pod(set: &ReplicaSet) -> Value {
    let template = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.clone())
        .unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let spec = serde_json::to_value(&template.spec).unwrap_or_default();
    json!({
        "metadata": {
            "generateName": format!("{}-", set.metadata.name.as_deref().unwrap_or_default()),
            "namespace": set.metadata.namespace,
            "labels": metadata.labels.unwrap_or_default(),
            "annotations": metadata.annotations.unwrap_or_default(),
            "ownerReferences": [controller_reference(&Resource::ReplicaSets, &set.metadata)],
        },
        "spec": spec,
        "status": {"phase": "Pending", "qosClass": quality_of_service::class_of(&spec)},
    })
}

#[cfg(test)]
mod tests;
