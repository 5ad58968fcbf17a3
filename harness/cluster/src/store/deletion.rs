//! The rules of deletion: what holds a deleted object, and for how long.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::state::State;
use super::write::{Change, Decision};
use super::{EventKind, Key, Resource, StoreError, Stored};
use crate::{clock, object};

const DEFAULT_GRACE_SECONDS: u64 = 30;

/// Finalizer by which dependents are deleted before their owner.
pub(crate) const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
/// Finalizer by which dependents lose their owner reference before the owner goes.
pub(crate) const ORPHAN_FINALIZER: &str = "orphan";

/// What becomes of the objects owned by a deleted one.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub(crate) enum Propagation {
    /// Deleted afterwards by the garbage collector.
    #[default]
    Background,
    /// Deleted first.
    Foreground,
    /// Kept.
    Orphan,
}

/// How to delete.
#[derive(Clone, Default, Debug)]
pub(crate) struct DeleteOptions {
    /// Pods only; absent means the pod's own grace period.
    pub(crate) grace_seconds: Option<u64>,
    pub(crate) propagation: Propagation,
    /// Delete only the object with this uid.
    pub(crate) uid: Option<String>,
    /// Delete only this version of the object.
    pub(crate) resource_version: Option<u64>,
}

impl DeleteOptions {
    /// Removes the object at once, as the kubelet does when a pod's processes
    /// have ended. Finalizers still hold it.
    pub(crate) fn immediately(uid: &str) -> Self {
        Self {
            grace_seconds: Some(0),
            uid: Some(uid.to_owned()),
            ..Self::default()
        }
    }
}

/// What a deletion did.
#[derive(Clone, Debug)]
pub(crate) enum Deletion {
    /// The object is gone; this was its last state.
    Removed(Arc<Stored>),
    /// The object stays until its grace period or finalizers are over.
    Pending(Arc<Stored>),
}

/// Decides what a deletion comes to.
pub(super) fn delete(
    state: &State,
    key: Key,
    options: &DeleteOptions,
) -> Result<Decision, StoreError> {
    let before = state.existing(&key)?;
    check_preconditions(&key, &before, options)?;
    let grace = match key.resource {
        Resource::Pods => pod_grace_seconds(&before, options.grace_seconds),
        _ => 0,
    };
    let mut after = Value::clone(&before);
    add_propagation_finalizer(&mut after, options.propagation);
    mark_deleted(&key.resource, &mut after, grace);
    let kind = if is_deletable(&key.resource, &after) {
        EventKind::Deleted
    } else if after == **before {
        return Ok(Decision::Keep(before));
    } else {
        EventKind::Modified
    };
    Ok(Decision::Commit(Change {
        key,
        kind,
        object: after,
    }))
}

fn check_preconditions(
    key: &Key,
    object: &Value,
    options: &DeleteOptions,
) -> Result<(), StoreError> {
    let conflict = |reason: String| StoreError::Conflict {
        resource: key.resource.clone(),
        name: key.name.clone(),
        reason,
    };
    let uid = object::uid(object);
    if let Some(expected) = options.uid.as_deref().filter(|expected| *expected != uid) {
        return Err(conflict(format!("the uid is {uid}, not {expected}")));
    }
    let version = object::resource_version(object);
    match options.resource_version {
        Some(expected) if expected != version => Err(conflict(format!(
            "the resourceVersion is {version}, not {expected}"
        ))),
        _ => Ok(()),
    }
}

/// The grace period of a pod's deletion. Nothing has to end in a pod that has
/// no node or whose containers have all ended.
fn pod_grace_seconds(pod: &Value, asked: Option<u64>) -> u64 {
    let ended = matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed");
    if ended || object::text(pod, "/spec/nodeName").is_empty() {
        return 0;
    }
    let own = pod
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_u64);
    asked.or(own).unwrap_or(DEFAULT_GRACE_SECONDS)
}

fn add_propagation_finalizer(object: &mut Value, propagation: Propagation) {
    let finalizer = match propagation {
        Propagation::Background => return,
        Propagation::Foreground => FOREGROUND_FINALIZER,
        Propagation::Orphan => ORPHAN_FINALIZER,
    };
    if object::finalizers(object).any(|present| present == finalizer) {
        return;
    }
    match object["metadata"]["finalizers"].as_array_mut() {
        Some(present) => present.push(finalizer.into()),
        None => object["metadata"]["finalizers"] = json!([finalizer]),
    }
}

fn mark_deleted(resource: &Resource, object: &mut Value, grace_seconds: u64) {
    let earlier = object["metadata"]["deletionGracePeriodSeconds"].as_u64();
    if object::is_deleting(object) && earlier.is_none_or(|earlier| earlier <= grace_seconds) {
        return;
    }
    let grace = SignedDuration::from_secs(i64::try_from(grace_seconds).unwrap_or(i64::MAX));
    let end = clock::now()
        .saturating_add(grace)
        .unwrap_or_else(|_| clock::now());
    object["metadata"]["deletionTimestamp"] = clock::rfc3339(end).into();
    object["metadata"]["deletionGracePeriodSeconds"] = grace_seconds.into();
    if *resource == Resource::Namespaces {
        object["status"]["phase"] = "Terminating".into();
    }
}

/// Whether nothing holds a deleted object any longer.
pub(super) fn is_deletable(resource: &Resource, object: &Value) -> bool {
    let grace_over = match resource {
        Resource::Pods => object["metadata"]["deletionGracePeriodSeconds"].as_u64() == Some(0),
        _ => true,
    };
    let namespace_empty = match resource {
        Resource::Namespaces => object::strings(object, "/spec/finalizers").next().is_none(),
        _ => true,
    };
    object::is_deleting(object)
        && object::finalizers(object).next().is_none()
        && grace_over
        && namespace_empty
}
