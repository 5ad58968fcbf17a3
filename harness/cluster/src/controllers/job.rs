//! Jobs: pods that run until enough of them have succeeded or too many failed.

mod back_off;
mod ending;
mod indexes;
mod plan;
mod pods;
mod shape;
mod tally;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use self::back_off::BackOff;
use self::plan::{Plan, plan};
use self::pods::{INDEX, PodRef, TRACKING_FINALIZER, is_tracked};
use self::shape::Shape;
use super::earlier;
use super::ownership::{
    Claim, adopt, claim, controller_of, controller_reference, release, typed_list,
};
use crate::events::{Recorder, Severity};
use crate::selector::Selector;
use crate::store::{DeleteOptions, Propagation, Resource, Store, StoreError};
use crate::{clock, object};

/// The variable that tells a program its index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Names are cut so that they stay names of hosts when five random characters are added.
const LONGEST_NAME_PREFIX: usize = 58;

/// How each Job's pods failed lately, by its uid.
#[derive(Default, Debug)]
pub(super) struct Memory(HashMap<String, BackOff>);

pub(super) fn sync(store: &Store, recorder: &Recorder, memory: &mut Memory) -> Option<Duration> {
    let pods: Vec<Pod> = typed_list(store, Resource::Pods);
    let jobs: Vec<Job> = typed_list(store, Resource::Jobs);
    let uids: BTreeSet<&str> = jobs
        .iter()
        .filter_map(|job| job.metadata.uid.as_deref())
        .collect();
    memory.0.retain(|uid, _| uids.contains(uid.as_str()));
    for pod in pods.iter().filter(|pod| is_orphan(pod, &uids)) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        report(untrack(store, namespace, &PodRef::to(pod)));
    }
    let mut again = None;
    for job in &jobs {
        again = earlier(again, reconcile(store, recorder, memory, job, &pods));
    }
    again
}

/// Kept for a Job which does not exist any more, or lost it.
fn is_orphan(pod: &Pod, jobs: &BTreeSet<&str>) -> bool {
    let controller = controller_of(&pod.metadata);
    is_tracked(pod) && controller.is_none_or(|job| !jobs.contains(job.uid.as_str()))
}

fn reconcile(
    store: &Store,
    recorder: &Recorder,
    memory: &mut Memory,
    job: &Job,
    pods: &[Pod],
) -> Option<Duration> {
    let shape = Shape::of(job)?;
    let own = match claim_pods(store, job, pods) {
        Ok(own) => own,
        Err(error) => {
            report(Err(error));
            return None;
        }
    };
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let back_off = memory.0.get(&uid).copied().unwrap_or_default();
    let plan = plan(job, &shape, &own, back_off, clock::now());
    match carry_out(store, recorder, job, &shape, &plan) {
        Ok(()) => drop(memory.0.insert(uid, plan.back_off)),
        Err(error) => report(Err(error)),
    }
    plan.again
}

/// What failed because something changed meanwhile is done after that change.
fn report(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "job not synced");
    }
}

/// The pods a Job controls. Free ones that it selects become its own, its own which it does not
/// select any more become free.
fn claim_pods<'a>(store: &Store, job: &Job, pods: &'a [Pod]) -> Result<Vec<&'a Pod>, StoreError> {
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let Some(selector) = selector.and_then(Selector::of_label_selector) else {
        return Ok(Vec::new());
    };
    let mut own = Vec::new();
    for pod in pods {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        match claim(&job.metadata, &selector, &pod.metadata) {
            Claim::Owned => own.push(pod),
            Claim::Adoptable => change_pod(store, namespace, &PodRef::to(pod), |pod| {
                adopt(pod, controller_reference(Resource::Jobs, &job.metadata));
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
    let mut pod = json!({
        "metadata": {
            "generateName": name_prefix(job, index),
            "namespace": job.metadata.namespace,
            "labels": metadata.labels.unwrap_or_default(),
            "annotations": metadata.annotations.unwrap_or_default(),
            "finalizers": metadata.finalizers.unwrap_or_default(),
            "ownerReferences": [controller_reference(Resource::Jobs, &job.metadata)],
        },
        "spec": template.spec,
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
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
