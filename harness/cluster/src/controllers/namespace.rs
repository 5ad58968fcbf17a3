//! Namespaces: a deleted one is emptied, then it goes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::events::Recorder;
use crate::object;
use crate::store::{DeleteOptions, Resource, Store, StoreError};

pub(super) fn sync(store: &Store, _recorder: &Recorder) -> Option<Duration> {
    let (namespaces, _) = store.list(Resource::Namespaces, None);
    for namespace in namespaces
        .iter()
        .filter(|namespace| object::is_deleting(namespace))
    {
        if let Err(error) = empty(store, namespace) {
            // Something changed meanwhile: that change wakes us again.
            tracing::debug!(%error, name = object::name(namespace), "namespace not emptied");
        }
    }
    None
}

fn empty(store: &Store, namespace: &Value) -> Result<(), StoreError> {
    let name = object::name(namespace);
    let mut left = 0;
    for resource in store
        .served()
        .into_iter()
        .filter(|resource| resource.namespaced())
    {
        for object in store.list(resource, Some(name)).0 {
            left += 1;
            if !object::is_deleting(&object) {
                store.delete(
                    resource,
                    name,
                    object::name(&object),
                    &DeleteOptions::default(),
                )?;
                left -= usize::from(store.get(resource, name, object::name(&object)).is_none());
            }
        }
    }
    if left == 0 {
        store.update(Resource::Namespaces, "", name, |namespace| {
            namespace["spec"]["finalizers"] = json!([])
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_goes_when_its_last_object_has_gone() {
        let store = Store::new();
        let recorder = Recorder::new(store.clone(), "test");
        let pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": "node"}});
        let pod = store.create(Resource::Pods, pod).unwrap();
        let map = json!({"metadata": {"name": "c", "namespace": "default"}});
        store.create(Resource::ConfigMaps, map).unwrap();
        store
            .delete(
                Resource::Namespaces,
                "",
                "default",
                &DeleteOptions::default(),
            )
            .unwrap();
        sync(&store, &recorder);
        assert!(store.get(Resource::ConfigMaps, "default", "c").is_none());
        assert!(
            store.get(Resource::Namespaces, "", "default").is_some(),
            "the pod still runs"
        );
        let options = DeleteOptions::immediately(object::uid(&pod));
        store
            .delete(Resource::Pods, "default", "p", &options)
            .unwrap();
        sync(&store, &recorder);
        assert!(store.get(Resource::Namespaces, "", "default").is_none());
        assert!(store.get(Resource::Namespaces, "", "kube-system").is_some());
    }
}
