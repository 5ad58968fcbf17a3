//! What a creation or an update comes to, decided over the present state.

use std::sync::Arc;

use serde_json::Value;

use super::deletion::is_deletable;
use super::state::State;
use super::{EventKind, Key, Resource, StoreError, Stored, Subresource, names};
use crate::{clock, object};

/// What is to happen.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing: this is already so.
    Keep(Arc<Stored>),
    Commit(Change),
}

#[derive(Debug)]
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) kind: EventKind,
    /// The object after the change; for a deletion its last state.
    pub(super) object: Value,
}

pub(super) fn create(
    state: &State,
    resource: &Resource,
    mut object: Value,
) -> Result<Decision, StoreError> {
    let namespace = if resource.namespaced() {
        object::namespace(&object)
    } else {
        ""
    };
    let key = place_for(state, resource, namespace, &object)?;
    if resource.namespaced() {
        check_namespace(state, &key)?;
    }
    if let Resource::Custom(_) = resource {
        check_definition(state, resource)?;
    }
    if state.get(&key).is_some() {
        return Err(StoreError::AlreadyExists {
            resource: resource.clone(),
            name: key.name,
        });
    }
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind().into();
    let metadata = object::map_at(&mut object, "metadata");
    metadata["name"] = key.name.clone().into();
    if resource.namespaced() {
        metadata["namespace"] = key.namespace.clone().into();
    }
    if metadata["uid"].is_null() {
        metadata["uid"] = names::random_uid().into();
    }
    metadata["creationTimestamp"] = clock::rfc3339(clock::now()).into();
    if resource.description().has_generation {
        metadata["generation"] = 1.into();
    }
    if let Some(entries) = metadata.as_object_mut() {
        for field in [
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            entries.remove(field);
        }
    }
    Ok(Decision::Commit(Change {
        key,
        kind: EventKind::Added,
        object,
    }))
}

fn place_for(
    state: &State,
    resource: &Resource,
    namespace: &str,
    object: &Value,
) -> Result<Key, StoreError> {
    let name = object::name(object);
    if !name.is_empty() {
        return Ok(Key::new(resource.clone(), namespace, name));
    }
    let prefix = object::text(object, "/metadata/generateName");
    if prefix.is_empty() {
        return Err(StoreError::NameRequired {
            resource: resource.clone(),
        });
    }
    loop {
        let name = format!("{prefix}{}", names::random_suffix());
        let key = Key::new(resource.clone(), namespace, &name);
        if state.get(&key).is_none() {
            return Ok(key);
        }
    }
}

fn check_namespace(state: &State, key: &Key) -> Result<(), StoreError> {
    let namespace = state.existing(&Key::new(Resource::Namespaces, "", &key.namespace))?;
    if object::is_deleting(&namespace) {
        return Err(StoreError::NamespaceTerminating {
            resource: key.resource.clone(),
            name: key.name.clone(),
            namespace: key.namespace.clone(),
        });
    }
    Ok(())
}

/// New objects need a definition which is there to stay.
fn check_definition(state: &State, resource: &Resource) -> Result<(), StoreError> {
    let name = resource.qualified_name();
    let definition = Key::new(Resource::CustomResourceDefinitions, "", &name);
    let definition = state.existing(&definition)?;
    if object::is_deleting(&definition) {
        return Err(StoreError::DefinitionTerminating {
            resource: resource.clone(),
        });
    }
    Ok(())
}

pub(super) fn update<E: From<StoreError>>(
    state: &State,
    key: Key,
    change: impl FnOnce(&mut Value) -> Result<(), E>,
) -> Result<Decision, E> {
    let before = state.existing(&key)?;
    let mut after = Value::clone(&before);
    change(&mut after)?;
    keep_server_fields(&before, &mut after);
    if after == **before {
        return Ok(Decision::Keep(before));
    }
    if key.resource.description().has_generation
        && desired_state_changed(&key.resource, &before, &after)
    {
        let generation = before["metadata"]["generation"].as_u64();
        after["metadata"]["generation"] = (generation.unwrap_or_default() + 1).into();
    }
    let kind = if is_deletable(&key.resource, &after) {
        EventKind::Deleted
    } else {
        EventKind::Modified
    };
    Ok(Decision::Commit(Change {
        key,
        kind,
        object: after,
    }))
}

/// Fields which only the store itself writes.
fn keep_server_fields(before: &Value, after: &mut Value) {
    after["apiVersion"] = before["apiVersion"].clone();
    after["kind"] = before["kind"].clone();
    let metadata = object::map_at(after, "metadata");
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
    ] {
        match before["metadata"].get(field) {
            Some(value) => metadata[field] = value.clone(),
            None => {
                if let Some(entries) = metadata.as_object_mut() {
                    entries.remove(field);
                }
            }
        }
    }
}

/// Whether anything but metadata and status differs. A status without a path of
/// its own is a field like any other.
fn desired_state_changed(resource: &Resource, before: &Value, after: &Value) -> bool {
    let status_apart = resource.has(Subresource::Status);
    let desired = |object: &'_ Value| {
        let fields = object.as_object().into_iter().flatten();
        let desired = fields.filter(|(field, _)| match field.as_str() {
            "metadata" => false,
            "status" => !status_apart,
            _ => true,
        });
        desired
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect::<Vec<_>>()
    };
    desired(before) != desired(after)
}
