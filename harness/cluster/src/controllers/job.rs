//! Jobs: pods that run until enough of them have succeeded or too many failed.

mod back_off;
mod ending;
mod indexes;
mod plan;
mod pods;
mod shape;
mod tally;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use self::back_off::BackOff;
use self::plan::{Plan, plan};
use self::pods::{INDEX, PodRef, TRACKING_FINALIZER};
use self::shape::Shape;
use super::ownership::{Claim, adopt, claim, controller_reference, related, release};
use super::{Controller, concerned};
use crate::events::{Recorder, Severity};
use crate::selector::Selector;
use crate::store::{
    DeleteOptions, Event, EventKind, Key, Kinds, Propagation, Resource, Store, StoreError,
};
use crate::{clock, object, quality_of_service};

/// The variable that tells a program its index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Names are cut so that they stay names of hosts when five random characters are added.
const LONGEST_NAME_PREFIX: usize = 58;

const NAME: &str = "job-controller";

#[derive(Debug)]
pub(super) struct Jobs {
    store: Store,
    recorder: Recorder,
    /// How the pods of each Job, by its uid too, failed lately.
    memory: HashMap<Key, (String, BackOff)>,
}

impl Jobs {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            recorder: Recorder::new(store.clone(), NAME),
            memory: HashMap::new(),
        }
    }

    fn reconcile_job(
        &mut self,
        key: &Key,
        job: &Job,
        shape: &Shape,
    ) -> Result<Option<Duration>, StoreError> {
        let pods = pods_of(&self.store, job);
        let own = claim_pods(&self.store, job, &pods)?;
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let known = self.memory.get(key).filter(|(known, _)| *known == uid);
        let back_off = known.map(|(_, back_off)| *back_off).unwrap_or_default();
        let plan = plan(job, shape, &own, back_off, clock::now());
        carry_out(&self.store, &self.recorder, job, shape, &plan)?;
        self.memory.insert(key.clone(), (uid, plan.back_off));
        Ok(plan.again)
    }
}

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watched(&self) -> Kinds {
        Kinds::Only(&[Resource::Jobs, Resource::Pods])
    }

    /// Jobs, and pods which are kept for a Job that is not there any more.
    fn concerned(&self, event: &Event) -> Vec<Key> {
        if event.resource == Resource::Pods {
            let mut keys = concerned::controllers(event, &Resource::Jobs);
            keys.extend(concerned::adopting(&self.store, event, &Resource::Jobs));
            if is_orphan(&self.store, &event.object) {
                keys.push(concerned::itself(event));
            }
            return keys;
        }
        let mut keys = vec![concerned::itself(event)];
        if event.kind == EventKind::Deleted {
            let dependents = self.store.dependents(object::uid(&event.object));
            keys.extend(dependents.into_iter().map(|(key, _)| key));
        }
        keys
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        let Some(found) = self
            .store
            .get(key.resource.clone(), &key.namespace, &key.name)
        else {
            self.memory.remove(key);
            return Ok(None);
        };
        if key.resource != Resource::Jobs {
            if let Some(pod) = found.typed().filter(|_| is_orphan(&self.store, &found)) {
                untrack(&self.store, &key.namespace, &PodRef::to(&pod))?;
            }
            return Ok(None);
        }
        let job: Option<Arc<Job>> = found.typed();
        let shape = job.as_ref().and_then(|job| Shape::of(job));
        match (job, shape) {
            (Some(job), Some(shape)) => self.reconcile_job(key, &job, &shape),
            _ => Ok(None),
        }
    }
}

/// Whether a pod is kept for a Job which does not exist any more, or lost it.
fn is_orphan(store: &Store, pod: &Value) -> bool {
    let job = concerned::controller(pod, &Resource::Jobs)
        .and_then(|key| store.get(key.resource.clone(), &key.namespace, &key.name));
    let controls = |job: &Value| {
        object::owners(pod).any(|owner| object::text(owner, "/uid") == object::uid(job))
    };
    object::finalizers(pod).any(|finalizer| finalizer == TRACKING_FINALIZER)
        && !job.is_some_and(|job| controls(&job))
}

/// The pods which a Job controls or may adopt.
fn pods_of(store: &Store, job: &Job) -> Vec<Arc<Pod>> {
    let selector = selector(job);
    selector.map_or_else(Vec::new, |selector| {
        related(store, Resource::Pods, &job.metadata, &selector)
    })
}

fn selector(job: &Job) -> Option<Selector> {
    Selector::of_label_selector(job.spec.as_ref()?.selector.as_ref()?)
}

/// The pods a Job controls. Free ones that it selects become its own, its own which it does not
/// select any more become free.
fn claim_pods<'a>(
    store: &Store,
    job: &Job,
    pods: &'a [Arc<Pod>],
) -> Result<Vec<&'a Pod>, StoreError> {
    let Some(selector) = selector(job) else {
        return Ok(Vec::new());
    };
    let mut own = Vec::new();
    for pod in pods {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        match claim(&job.metadata, &selector, &pod.metadata) {
            Claim::Owned => own.push(&**pod),
            Claim::Adoptable => change_pod(store, namespace, &PodRef::to(pod), |pod| {
                adopt(pod, controller_reference(&Resource::Jobs, &job.metadata));
                track(pod);
            })?,
            Claim::Released => change_pod(store, namespace, &PodRef::to(pod), |pod| {
                release(pod, uid);
                remove_finalizer(pod);
            })?,
            Claim::Foreign => {}
        }
    }
    Ok(own)
}

/// Changes a pod, unless it is gone or another took its name.
fn change_pod(
    store: &Store,
    namespace: &str,
    pod: &PodRef,
    change: impl FnOnce(&mut Value),
) -> Result<(), StoreError> {
    let changed = store.update(Resource::Pods, namespace, &pod.name, |found| {
        if object::uid(found) == pod.uid {
            change(found);
        }
    });
    gone_is_fine(changed.map(drop))
}

fn gone_is_fine(outcome: Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Err(StoreError::NotFound { .. } | StoreError::Conflict { .. }) => Ok(()),
        outcome => outcome,
    }
}

fn track(pod: &mut Value) {
    if object::finalizers(pod).any(|present| present == TRACKING_FINALIZER) {
        return;
    }
    match pod["metadata"]["finalizers"].as_array_mut() {
        Some(present) => present.push(TRACKING_FINALIZER.into()),
        None => pod["metadata"]["finalizers"] = json!([TRACKING_FINALIZER]),
    }
}

fn remove_finalizer(pod: &mut Value) {
    if let Some(present) = pod["metadata"]["finalizers"].as_array_mut() {
        present.retain(|finalizer| finalizer != TRACKING_FINALIZER);
    }
}

fn untrack(store: &Store, namespace: &str, pod: &PodRef) -> Result<(), StoreError> {
    change_pod(store, namespace, pod, remove_finalizer)
}

fn carry_out(
    store: &Store,
    recorder: &Recorder,
    job: &Job,
    shape: &Shape,
    plan: &Plan,
) -> Result<(), StoreError> {
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let Some(about) = store.get(Resource::Jobs, namespace, name) else {
        return Ok(());
    };
    if object::uid(&about) != uid {
        return Ok(());
    }
    for pod in &plan.discard {
        untrack(store, namespace, pod)?;
    }
    for pod in plan.discard.iter().chain(&plan.end) {
        delete_pod(store, namespace, pod)?;
        let message = format!("Deleted pod: {}", pod.name);
        recorder.record(&about, Severity::Normal, "SuccessfulDelete", &message);
    }
    let (created, outcome) = create_pods(store, recorder, &about, job, shape, plan);
    let mut status = plan.status.clone();
    let missing = i32::try_from(plan.create.len() - created).unwrap_or_default();
    status.active = status.active.map(|active| active - missing);
    let status = serde_json::to_value(&status).unwrap_or_default();
    store.update(Resource::Jobs, namespace, name, |job| {
        if object::uid(job) == uid {
            job["status"] = status;
        }
    })?;
    for pod in &plan.untrack {
        untrack(store, namespace, pod)?;
    }
    for (severity, reason, message) in &plan.announce {
        recorder.record(&about, *severity, reason, message);
    }
    if plan.expired {
        delete_job(store, namespace, name, uid)?;
    }
    outcome
}

fn delete_pod(store: &Store, namespace: &str, pod: &PodRef) -> Result<(), StoreError> {
    let options = DeleteOptions {
        uid: Some(pod.uid.clone()),
        ..DeleteOptions::default()
    };
    gone_is_fine(
        store
            .delete(Resource::Pods, namespace, &pod.name, &options)
            .map(drop),
    )
}

/// A Job whose time is over goes after its pods.
fn delete_job(store: &Store, namespace: &str, name: &str, uid: &str) -> Result<(), StoreError> {
    let options = DeleteOptions {
        uid: Some(uid.to_owned()),
        propagation: Propagation::Foreground,
        ..DeleteOptions::default()
    };
    gone_is_fine(
        store
            .delete(Resource::Jobs, namespace, name, &options)
            .map(drop),
    )
}

/// Creates the pods of a plan, and tells how many it could.
fn create_pods(
    store: &Store,
    recorder: &Recorder,
    about: &Value,
    job: &Job,
    shape: &Shape,
    plan: &Plan,
) -> (usize, Result<(), StoreError>) {
    for (created, index) in plan.create.iter().enumerate() {
        match store.create(Resource::Pods, new_pod(job, shape, *index)) {
            Ok(pod) => {
                let message = format!("Created pod: {}", object::name(&pod));
                recorder.record(about, Severity::Normal, "SuccessfulCreate", &message);
            }
            Err(error) => {
                let message = format!("Error creating: {error}");
                recorder.record(about, Severity::Warning, "FailedCreate", &message);
                return (created, Err(error));
            }
        }
    }
    (plan.create.len(), Ok(()))
}

fn new_pod(job: &Job, shape: &Shape, index: Option<u32>) -> Value {
    let template = job.spec.as_ref().map(|spec| spec.template.clone());
    let template = template.unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let spec = serde_json::to_value(&template.spec).unwrap_or_default();
    let mut pod = json!({
        "metadata": {
            "generateName": name_prefix(job, index),
            "namespace": job.metadata.namespace,
            "labels": metadata.labels.unwrap_or_default(),
            "annotations": metadata.annotations.unwrap_or_default(),
            "finalizers": metadata.finalizers.unwrap_or_default(),
            "ownerReferences": [controller_reference(&Resource::Jobs, &job.metadata)],
        },
        "spec": spec,
        "status": {"phase": "Pending", "qosClass": quality_of_service::class_of(&spec)},
    });
    track(&mut pod);
    if let Some(index) = index.filter(|_| shape.indexed) {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        pod["metadata"]["annotations"][INDEX] = index.to_string().into();
        pod["metadata"]["labels"][INDEX] = index.to_string().into();
        pod["spec"]["hostname"] = format!("{name}-{index}").into();
        for list in ["initContainers", "containers"] {
            let containers = pod["spec"][list].as_array_mut();
            containers.into_iter().flatten().for_each(tell_index);
        }
    }
    pod
}

fn name_prefix(job: &Job, index: Option<u32>) -> String {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let end = index.map_or_else(|| "-".to_owned(), |index| format!("-{index}-"));
    let length = name.len().min(LONGEST_NAME_PREFIX - end.len());
    format!("{}{end}", &name[..length])
}

/// Gives a container the variable, unless it has one of that name.
fn tell_index(container: &mut Value) {
    if container["env"].is_null() {
        container["env"] = json!([]);
    }
    let Some(variables) = container["env"].as_array_mut() else {
        return;
    };
    if variables
        .iter()
        .any(|variable| variable["name"] == INDEX_VARIABLE)
    {
        return;
    }
    variables.push(json!({
        "name": INDEX_VARIABLE,
        "valueFrom": {"fieldRef": {
            "apiVersion": "v1",
            "fieldPath": format!("metadata.labels['{INDEX}']"),
        }},
    }));
}

#[cfg(test)]
mod tests;
