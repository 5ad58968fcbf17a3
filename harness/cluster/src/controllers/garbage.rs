//! Garbage collection: what is owned goes with its owner.

use std::time::Duration;

use serde_json::Value;

use super::Controller;
use super::ownership::release;
use crate::object;
use crate::store::{
    DeleteOptions, Event, EventKind, FOREGROUND_FINALIZER, Key, Kinds, ORPHAN_FINALIZER,
    Propagation, Resource, Store, StoreError,
};

#[derive(Debug)]
pub(super) struct GarbageCollector {
    store: Store,
}

impl GarbageCollector {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }
}

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn watched(&self) -> Kinds {
        Kinds::All
    }

    /// Dependents have to do with the end of their owners, and owners which wait
    /// for their dependents with the end of these.
    fn concerned(&self, event: &Event) -> Vec<Key> {
        let (after, before) = (&*event.object, event.previous.as_deref());
        let owners_changed =
            before.is_none_or(|before| !object::owners(before).eq(object::owners(after)));
        let gone = event.kind == EventKind::Deleted;
        let going = object::is_deleting(after) && waits_for_dependents(after);
        let mut keys = Vec::new();
        if going || (owners_changed && !gone && object::owners(after).next().is_some()) {
            keys.push(Key::of(event.resource.clone(), after));
        }
        if gone || owners_changed {
            keys.extend(
                before
                    .into_iter()
                    .flat_map(|before| owner_keys(&self.store, before)),
            );
        }
        if gone || going {
            let dependents = self.store.dependents(object::uid(after));
            keys.extend(dependents.into_iter().map(|(key, _)| key));
        }
        keys
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        if let Some(object) = self
            .store
            .get(key.resource.clone(), &key.namespace, &key.name)
        {
            if object::is_deleting(&object) {
                finish_deletion(&self.store, key, &object)?;
            } else {
                judge(&self.store, key, &object)?;
            }
        }
        Ok(None)
    }
}

/// Where the owners of an object are, as far as their kinds are known.
fn owner_keys(store: &Store, object: &Value) -> Vec<Key> {
    object::owners(object)
        .filter_map(|reference| owner_key(store, object, reference))
        .collect()
}

fn owner_key(store: &Store, object: &Value, reference: &Value) -> Option<Key> {
    let text = |pointer| object::text(reference, pointer);
    let resource = Resource::of_kind(&store.served(), text("/apiVersion"), text("/kind"))?;
    let namespace = match (resource.namespaced(), object::namespace(object)) {
        // An object of no namespace names no owner in one: nobody can say which.
        (true, "") => return None,
        (true, namespace) => namespace,
        (false, _) => "",
    };
    Some(Key::new(resource, namespace, text("/name")))
}

/// How an owner stands.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum Owner {
    Present,
    Absent,
    /// It is deleted, and waits until its dependents are gone.
    Waiting,
}

/// An owner of a kind unknown here cannot be judged and counts as present.
fn standing(store: &Store, object: &Value, reference: &Value) -> Owner {
    let Some(key) = owner_key(store, object, reference) else {
        return Owner::Present;
    };
    let found = store.get(key.resource.clone(), &key.namespace, &key.name);
    let uid = object::text(reference, "/uid");
    match found.filter(|owner| object::uid(owner) == uid) {
        None => Owner::Absent,
        Some(owner) if object::is_deleting(&owner) && has(&owner, FOREGROUND_FINALIZER) => {
            Owner::Waiting
        }
        Some(_) => Owner::Present,
    }
}

/// An object goes when none of its owners stays. If one does, the object only
/// forgets the others.
fn judge(store: &Store, key: &Key, object: &Value) -> Result<(), StoreError> {
    let owners: Vec<_> = object::owners(object)
        .map(|reference| (reference, standing(store, object, reference)))
        .collect();
    let any = |standing| owners.iter().any(|(_, owner)| *owner == standing);
    if !any(Owner::Absent) && !any(Owner::Waiting) {
        return Ok(());
    }
    if any(Owner::Present) {
        let leaving: Vec<&str> = owners
            .iter()
            .filter(|(_, owner)| *owner != Owner::Present)
            .map(|(reference, _)| object::text(reference, "/uid"))
            .collect();
        let update = store.update(key.resource.clone(), &key.namespace, &key.name, |object| {
            for uid in leaving {
                release(object, uid);
            }
        });
        return update.map(drop);
    }
    let has_dependents = !store.dependents(object::uid(object)).is_empty();
    let propagation = if has(object, ORPHAN_FINALIZER) {
        Propagation::Orphan
    } else if has(object, FOREGROUND_FINALIZER) || (any(Owner::Waiting) && has_dependents) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    let options = DeleteOptions {
        propagation,
        uid: Some(object::uid(object).to_owned()),
        ..DeleteOptions::default()
    };
    store
        .delete(key.resource.clone(), &key.namespace, &key.name, &options)
        .map(drop)
}

fn has(object: &Value, finalizer: &str) -> bool {
    object::finalizers(object).any(|present| present == finalizer)
}

fn waits_for_dependents(object: &Value) -> bool {
    has(object, ORPHAN_FINALIZER) || has(object, FOREGROUND_FINALIZER)
}

/// Does for a deleted owner what its finalizers ask for, then removes them.
fn finish_deletion(store: &Store, key: &Key, owner: &Value) -> Result<(), StoreError> {
    let uid = object::uid(owner);
    if has(owner, ORPHAN_FINALIZER) {
        for (key, _) in store.dependents(uid) {
            store.update(
                key.resource.clone(),
                &key.namespace,
                &key.name,
                |dependent| release(dependent, uid),
            )?;
        }
        return remove_finalizer(store, key, ORPHAN_FINALIZER);
    }
    let blocks = |dependent: &Value| {
        object::owners(dependent).any(|reference| {
            object::text(reference, "/uid") == uid
                && reference["blockOwnerDeletion"].as_bool() == Some(true)
        })
    };
    let dependents = store.dependents(uid);
    if has(owner, FOREGROUND_FINALIZER) && !dependents.iter().any(|(_, object)| blocks(object)) {
        return remove_finalizer(store, key, FOREGROUND_FINALIZER);
    }
    Ok(())
}

fn remove_finalizer(store: &Store, key: &Key, finalizer: &str) -> Result<(), StoreError> {
    let update = store.update(key.resource.clone(), &key.namespace, &key.name, |object| {
        if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|present| present != finalizer);
        }
    });
    update.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::controllers::settle::Settling;
    use crate::store::Stored;

    const CHAIN: [Resource; 3] = [Resource::Deployments, Resource::ReplicaSets, Resource::Pods];

    struct Cluster {
        store: Store,
        settling: Settling,
    }

    impl Cluster {
        fn new() -> Self {
            let store = Store::new();
            let collector = Box::new(GarbageCollector::new(&store));
            let settling = Settling::new(&store, vec![collector]);
            Self { store, settling }
        }

        /// A Deployment, its ReplicaSet, and that one's pod.
        fn with_chain() -> Self {
            let cluster = Self::new();
            let mut owner: Option<Arc<Stored>> = None;
            for resource in CHAIN {
                let owners: Vec<_> = owner.iter().map(|owner| reference(owner)).collect();
                owner = Some(cluster.create(resource, "web", &owners));
            }
            cluster
        }

        fn create(&self, resource: Resource, name: &str, owners: &[Value]) -> Arc<Stored> {
            let object = json!({"metadata": {
                "name": name, "namespace": "default", "ownerReferences": owners,
            }});
            self.store.create(resource, object).unwrap()
        }

        fn delete(&mut self, resource: Resource, name: &str, propagation: Propagation) {
            let options = DeleteOptions {
                propagation,
                ..DeleteOptions::default()
            };
            self.store
                .delete(resource, "default", name, &options)
                .unwrap();
            self.settling.settle();
        }

        fn left(&self) -> Vec<Resource> {
            let exists =
                |resource: &Resource| self.store.get(resource.clone(), "default", "web").is_some();
            CHAIN.into_iter().filter(exists).collect()
        }
    }

    fn reference(owner: &Value) -> Value {
        json!({
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": object::name(owner),
            "uid": object::uid(owner),
            "blockOwnerDeletion": true,
        })
    }

    fn left_after(propagation: Propagation) -> Vec<Resource> {
        let mut cluster = Cluster::with_chain();
        cluster.delete(Resource::Deployments, "web", propagation);
        cluster.left()
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
    fn foreground_deletion_keeps_the_owner_until_the_last_dependent_has_gone() {
        let mut cluster = Cluster::with_chain();
        let hold = |finalizers: Value| {
            let update = cluster
                .store
                .update(Resource::Pods, "default", "web", |pod| {
                    pod["metadata"]["finalizers"] = finalizers;
                });
            update.unwrap();
        };
        hold(json!(["example.com/hold"]));
        cluster.delete(Resource::Deployments, "web", Propagation::Foreground);
        assert_eq!(cluster.left(), CHAIN);
        let release = cluster
            .store
            .update(Resource::Pods, "default", "web", |pod| {
                pod["metadata"]["finalizers"] = json!([]);
            });
        release.unwrap();
        cluster.settling.settle();
        assert_eq!(cluster.left(), []);
    }

    #[test]
    fn a_dependent_which_does_not_block_is_not_waited_for() {
        let mut cluster = Cluster::with_chain();
        let unblock = cluster
            .store
            .update(Resource::Pods, "default", "web", |pod| {
                pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
                pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = false.into();
            });
        unblock.unwrap();
        cluster.delete(Resource::Deployments, "web", Propagation::Foreground);
        assert_eq!(cluster.left(), [Resource::Pods]);
    }

    #[test]
    fn an_object_with_another_owner_stays_and_forgets_the_one_that_went() {
        let mut cluster = Cluster::new();
        let owners = ["a", "b"].map(|name| {
            let owner = cluster.create(Resource::ConfigMaps, name, &[]);
            reference(&owner)
        });
        cluster.create(Resource::ConfigMaps, "web", &owners);
        cluster.delete(Resource::ConfigMaps, "a", Propagation::Background);
        let left = cluster.store.get(Resource::ConfigMaps, "default", "web");
        let left = left.unwrap();
        assert_eq!(left["metadata"]["ownerReferences"], json!([owners[1]]));
        cluster.delete(Resource::ConfigMaps, "b", Propagation::Background);
        let left = cluster.store.get(Resource::ConfigMaps, "default", "web");
        assert!(left.is_none());
    }

    #[test]
    fn an_object_whose_owner_never_was_goes_unless_the_owner_is_of_an_unknown_kind() {
        let mut cluster = Cluster::new();
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"});
        cluster.create(Resource::ConfigMaps, "lost", std::slice::from_ref(&owner));
        let mut unknown = owner;
        unknown["kind"] = "Unknown".into();
        cluster.create(Resource::ConfigMaps, "kept", &[unknown]);
        cluster.settling.settle();
        let found = |name| cluster.store.get(Resource::ConfigMaps, "default", name);
        assert!(found("lost").is_none());
        assert!(found("kept").is_some());
    }
}
