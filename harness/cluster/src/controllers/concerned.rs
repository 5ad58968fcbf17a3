//! From a change to the objects which it concerns.

use serde_json::Value;

use crate::object;
use crate::store::{Event, Key, Resource, Store};

/// The changed object itself.
pub(super) fn itself(event: &Event) -> Key {
    Key::of(event.resource.clone(), &event.object)
}

/// The objects of a kind which control the changed one, or did.
pub(super) fn controllers(event: &Event, resource: &Resource) -> Vec<Key> {
    let mut keys: Vec<_> = both(event)
        .filter_map(|object| controller(object, resource))
        .collect();
    keys.dedup();
    keys
}

/// The object of a kind which controls another.
pub(super) fn controller(object: &Value, resource: &Resource) -> Option<Key> {
    let namespace = if resource.namespaced() {
        object::namespace(object)
    } else {
        ""
    };
    let is_controller = |owner: &&Value| owner["controller"].as_bool() == Some(true);
    let reference = object::owners(object).find(is_controller)?;
    let is_kind = object::text(reference, "/kind") == resource.kind()
        && object::text(reference, "/apiVersion") == resource.api_version();
    is_kind.then(|| {
        Key::new(
            resource.clone(),
            namespace,
            object::text(reference, "/name"),
        )
    })
}

/// The objects of a kind whose selector may match the changed one, or did.
pub(super) fn selecting(store: &Store, event: &Event, resource: &Resource) -> Vec<Key> {
    let mut keys: Vec<_> = both(event)
        .flat_map(|object| {
            store.selecting(
                resource.clone(),
                object::namespace(object),
                &object::labels(object),
            )
        })
        .map(|object| Key::of(resource.clone(), &object))
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The would-be controllers of a changed object which has none.
pub(super) fn adopting(store: &Store, event: &Event, resource: &Resource) -> Vec<Key> {
    let has_controller =
        object::owners(&event.object).any(|owner| owner["controller"].as_bool() == Some(true));
    if has_controller {
        return Vec::new();
    }
    selecting(store, event, resource)
}

/// The object after a change, and the one before it.
fn both(event: &Event) -> impl Iterator<Item = &Value> {
    let before = event.previous.as_deref().map(|previous| &**previous);
    [Some(&**event.object), before].into_iter().flatten()
}
