//! Garbage collection: what is owned goes with its owner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::ownership::release;
use crate::events::Recorder;
use crate::object;
use crate::store::{
    DeleteOptions, FOREGROUND_FINALIZER, ORPHAN_FINALIZER, Propagation, Resource, Store, StoreError,
};

pub(super) fn sync(store: &Store, _recorder: &Recorder) -> Option<Duration> {
    let served = store.served();
    let objects: Vec<(Resource, Arc<Value>)> = served
        .iter()
        .copied()
        .flat_map(|resource| {
            store
                .list(resource, None)
                .0
                .into_iter()
                .map(move |object| (resource, object))
        })
        .collect();
    for (resource, object) in &objects {
        let outcome = if object::is_deleting(object) {
            finish_deletion(store, *resource, object, &objects)
        } else {
            delete_when_abandoned(store, &served, *resource, object, &objects)
        };
        if let Err(error) = outcome {
            // The object changed meanwhile: that change wakes us again.
            tracing::debug!(%error, name = object::name(object), "object not collected");
        }
    }
    None
}

/// Deletes an object which has owners, none of which exists. Owners of kinds
/// unknown here cannot be judged and count as existing.
fn delete_when_abandoned(
    store: &Store,
    served: &[Resource],
    resource: Resource,
    object: &Value,
    all: &[(Resource, Arc<Value>)],
) -> Result<(), StoreError> {
    let uids: BTreeSet<&str> = object::owners(object)
        .map(|owner| object::text(owner, "/uid"))
        .collect();
    let unknown = |owner: &Value| {
        Resource::of_kind(
            served,
            object::text(owner, "/apiVersion"),
            object::text(owner, "/kind"),
        )
        .is_none()
    };
    let exists = |(_, candidate): &(Resource, Arc<Value>)| uids.contains(object::uid(candidate));
    if uids.is_empty() || object::owners(object).any(unknown) || all.iter().any(exists) {
        return Ok(());
    }
    delete(store, resource, object, Propagation::Background)
}

/// Does for a deleted owner what its finalizers ask for, then removes them.
fn finish_deletion(
    store: &Store,
    resource: Resource,
    owner: &Value,
    all: &[(Resource, Arc<Value>)],
) -> Result<(), StoreError> {
    let has = |finalizer: &str| object::finalizers(owner).any(|present| present == finalizer);
    let uid = object::uid(owner);
    let mut dependents = all.iter().filter(|(_, object)| {
        object::owners(object).any(|owner| object::text(owner, "/uid") == uid)
    });
    if has(ORPHAN_FINALIZER) {
        for (kind, dependent) in dependents {
            let (namespace, name) = (object::namespace(dependent), object::name(dependent));
            store.update(*kind, namespace, name, |dependent| release(dependent, uid))?;
        }
        return remove_finalizer(store, resource, owner, ORPHAN_FINALIZER);
    }
    if !has(FOREGROUND_FINALIZER) {
        return Ok(());
    }
    if dependents.clone().next().is_none() {
        return remove_finalizer(store, resource, owner, FOREGROUND_FINALIZER);
    }
    dependents.try_for_each(|(kind, dependent)| match object::is_deleting(dependent) {
        true => Ok(()),
        false => delete(store, *kind, dependent, Propagation::Foreground),
    })
}

fn delete(
    store: &Store,
    resource: Resource,
    object: &Value,
    propagation: Propagation,
) -> Result<(), StoreError> {
    // A pod has no dependents: its finalizer would only be in the way.
    let propagation = if resource == Resource::Pods {
        Propagation::Background
    } else {
        propagation
    };
    let uid = Some(object::uid(object).to_owned());
    let options = DeleteOptions {
        propagation,
        uid,
        ..DeleteOptions::default()
    };
    store
        .delete(
            resource,
            object::namespace(object),
            object::name(object),
            &options,
        )
        .map(drop)
}

fn remove_finalizer(
    store: &Store,
    resource: Resource,
    object: &Value,
    finalizer: &str,
) -> Result<(), StoreError> {
    let update = store.update(
        resource,
        object::namespace(object),
        object::name(object),
        |object| {
            if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|present| present != finalizer);
            }
        },
    );
    update.map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A Deployment, its ReplicaSet, and that one's pod.
    fn chain() -> Store {
        let store = Store::new();
        let mut owner: Option<(Resource, Arc<Value>)> = None;
        for resource in [Resource::Deployments, Resource::ReplicaSets, Resource::Pods] {
            let references = owner.as_ref().map(|(kind, owner)| {
                json!([{
                    "apiVersion": kind.api_version(),
                    "kind": kind.kind(),
                    "name": object::name(owner),
                    "uid": object::uid(owner),
                }])
            });
            let object = json!({"metadata": {
                "name": "web", "namespace": "default", "ownerReferences": references.unwrap_or(json!([])),
            }});
            owner = Some((resource, store.create(resource, object).unwrap()));
        }
        store
    }

    fn left_after(propagation: Propagation) -> Vec<Resource> {
        let store = chain();
        let options = DeleteOptions {
            propagation,
            ..DeleteOptions::default()
        };
        store
            .delete(Resource::Deployments, "default", "web", &options)
            .unwrap();
        for _ in 0..6 {
            sync(&store, &Recorder::new(store.clone(), "test"));
        }
        let all = [Resource::Deployments, Resource::ReplicaSets, Resource::Pods];
        all.into_iter()
            .filter(|resource| store.get(*resource, "default", "web").is_some())
            .collect()
    }

    #[test]
    fn everything_owned_goes_with_its_owner() {
        assert_eq!(left_after(Propagation::Background), []);
        assert_eq!(left_after(Propagation::Foreground), []);
    }

    #[test]
    fn orphans_stay() {
        assert_eq!(
            left_after(Propagation::Orphan),
            [Resource::ReplicaSets, Resource::Pods]
        );
    }

    #[test]
    fn foreground_deletion_keeps_the_owner_until_the_end() {
        let store = chain();
        let options = DeleteOptions {
            propagation: Propagation::Foreground,
            ..DeleteOptions::default()
        };
        store
            .delete(Resource::Deployments, "default", "web", &options)
            .unwrap();
        assert!(store.get(Resource::Deployments, "default", "web").is_some());
    }
}
