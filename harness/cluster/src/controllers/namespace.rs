//! Namespaces: a deleted one is emptied, then it goes.

use std::time::Duration;

use serde_json::json;

use super::{Controller, concerned};
use crate::object;
use crate::store::{DeleteOptions, Event, EventKind, Key, Kinds, Resource, Store, StoreError};

#[derive(Debug)]
pub(super) struct Namespaces {
    store: Store,
}

impl Namespaces {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }
}

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watched(&self) -> Kinds {
        Kinds::All
    }

    /// A terminating namespace takes nothing new: after the first look nothing
    /// is left to do before the last object has gone.
    fn concerned(&self, event: &Event) -> Vec<Key> {
        if event.resource == Resource::Namespaces {
            return vec![concerned::itself(event)];
        }
        let namespace = object::namespace(&event.object);
        if event.kind != EventKind::Deleted || self.store.has_content(namespace) {
            return Vec::new();
        }
        vec![Key::new(Resource::Namespaces, "", namespace)]
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        let namespace = self.store.get(Resource::Namespaces, "", &key.name);
        if !namespace.is_some_and(|namespace| object::is_deleting(&namespace)) {
            return Ok(None);
        }
        for (key, object) in self.store.content(&key.name) {
            if !object::is_deleting(&object) {
                delete(&self.store, &key)?;
            }
        }
        if !self.store.has_content(&key.name) {
            self.store
                .update(Resource::Namespaces, "", &key.name, |namespace| {
                    namespace["spec"]["finalizers"] = json!([])
                })?;
        }
        Ok(None)
    }
}

fn delete(store: &Store, key: &Key) -> Result<(), StoreError> {
    let options = DeleteOptions::default();
    match store.delete(key.resource.clone(), &key.namespace, &key.name, &options) {
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::settle::Settling;

    #[test]
    fn a_namespace_goes_when_its_last_object_has_gone() {
        let store = Store::new();
        let mut settling = Settling::new(&store, vec![Box::new(Namespaces::new(&store))]);
        let pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": "node"}});
        let pod = store.create(Resource::Pods, pod).unwrap();
        let map = json!({"metadata": {"name": "c", "namespace": "default"}});
        store.create(Resource::ConfigMaps, map).unwrap();
        let options = DeleteOptions::default();
        store
            .delete(Resource::Namespaces, "", "default", &options)
            .unwrap();
        settling.settle();
        assert!(store.get(Resource::ConfigMaps, "default", "c").is_none());
        assert!(
            store.get(Resource::Namespaces, "", "default").is_some(),
            "the pod still runs"
        );
        let options = DeleteOptions::immediately(object::uid(&pod));
        store
            .delete(Resource::Pods, "default", "p", &options)
            .unwrap();
        settling.settle();
        assert!(store.get(Resource::Namespaces, "", "default").is_none());
        assert!(store.get(Resource::Namespaces, "", "kube-system").is_some());
    }
}
