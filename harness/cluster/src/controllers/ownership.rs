//! Which object controls which: owner references and adoption.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::object;
use crate::selector::Selector;
use crate::store::{Resource, Store, Stored};

/// The objects of a kind which refer to an owner or which it selects: among them
/// are all it controls or may adopt.
pub(super) fn related<T: DeserializeOwned + Send + Sync + 'static>(
    store: &Store,
    resource: Resource,
    owner: &ObjectMeta,
    selector: &Selector,
) -> Vec<Arc<T>> {
    let namespace = owner.namespace.as_deref().unwrap_or_default();
    let dependents = store.dependents(owner.uid.as_deref().unwrap_or_default());
    let mut found: BTreeMap<String, Arc<Stored>> = dependents
        .into_iter()
        .filter(|(key, _)| key.resource == resource && key.namespace == namespace)
        .map(|(key, object)| (key.name, object))
        .collect();
    for object in store.select(resource, namespace, selector) {
        found.insert(object::name(&object).to_owned(), object);
    }
    found.values().filter_map(|object| object.typed()).collect()
}

/// The reference to the controller of an object.
pub(super) fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// An owner reference by which `owner` controls an object.
pub(super) fn controller_reference(resource: &Resource, owner: &ObjectMeta) -> Value {
    json!({
        "apiVersion": resource.api_version(),
        "kind": resource.kind(),
        "name": owner.name,
        "uid": owner.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// How an object stands to a would-be owner.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Claim {
    /// Controlled and selected.
    Owned,
    /// Selected and free: to be adopted.
    Adoptable,
    /// Controlled, but no longer selected: to be released.
    Released,
    /// None of its business.
    Foreign,
}

pub(super) fn claim(owner: &ObjectMeta, selector: &Selector, object: &ObjectMeta) -> Claim {
    let no_labels = BTreeMap::new();
    let selected = selector.matches(object.labels.as_ref().unwrap_or(&no_labels));
    let deleting = owner.deletion_timestamp.is_some() || object.deletion_timestamp.is_some();
    match controller_of(object) {
        _ if owner.namespace != object.namespace => Claim::Foreign,
        Some(reference) if Some(&reference.uid) != owner.uid.as_ref() => Claim::Foreign,
        Some(_) if selected || owner.deletion_timestamp.is_some() => Claim::Owned,
        Some(_) => Claim::Released,
        None if selected && !deleting => Claim::Adoptable,
        None => Claim::Foreign,
    }
}

/// Adds the controller reference to an object.
pub(super) fn adopt(object: &mut Value, reference: Value) {
    match object["metadata"]["ownerReferences"].as_array_mut() {
        Some(owners) => owners.push(reference),
        None => object["metadata"]["ownerReferences"] = json!([reference]),
    }
}

/// Removes the references to the owner with this uid.
pub(super) fn release(object: &mut Value, uid: &str) {
    if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
        owners.retain(|owner| owner["uid"] != uid);
    }
}
