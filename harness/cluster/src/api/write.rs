//! Creating, replacing and patching objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::admission;
use super::apply;
use super::decode::decode;
use super::error::{ApiError, Cause, CauseReason};
use super::request::{Parameters, Target};
use super::scale;
use super::service_address::{self, PortCheck, ServiceAddresses};
use super::versions;
use crate::clock;
use crate::managed_fields::{self, Applied, Writer, record_update};
use crate::object;
use crate::patch::{self, PatchError, strategic_merge};
use crate::store::{Resource, Store, StoreError, Stored, Subresource};

/// Only built-in kinds have merge keys.
const CUSTOM_PATCH_TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// A stored object, and what the client should know about it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) object: Arc<Stored>,
    pub(super) warnings: BTreeSet<String>,
}

/// A change asked for by a PUT or PATCH.
#[derive(Debug)]
pub(super) enum Change {
    /// What shall be otherwise.
    Edit(Edit),
    /// What one manager wants, by server-side apply; JSON is YAML too.
    Apply(Value),
}

/// A change of an object which says nothing of managers.
#[derive(Debug)]
pub(super) enum Edit {
    Replace(Value),
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

/// Where a new object comes from.
#[derive(Debug)]
pub(super) enum Origin {
    Sent(Value),
    Applied(Applied),
}

/// Stores a new object.
pub(super) fn create(
    store: &Store,
    addresses: &ServiceAddresses,
    target: &Target,
    parameters: &Parameters,
    origin: Origin,
) -> Result<Written, ApiError> {
    let resource = &target.resource;
    let (mut object, applied) = match origin {
        Origin::Sent(object) => (object, None),
        Origin::Applied(applied) => (applied.object.clone(), Some(applied)),
    };
    let mut warnings = admission::warnings(resource, &object);
    set_namespace(target, &mut object)?;
    let mut object = typed(target, object, parameters, &mut warnings)?;
    admission::prepare_new(resource, &mut object);
    admission::set_defaults(resource, &mut object);
    admission::check(resource, &object, None)?;
    check_managers(resource, &object)?;
    let writer = Writer::new(resource, "", &parameters.field_manager, clock::now());
    match applied {
        Some(applied) => applied.record(&Value::Null, &mut object, &writer),
        None => record_update(&Value::Null, &mut object, &writer),
    }
    let object = match resource {
        Resource::Services => addresses.create(store, object)?,
        _ => store.create(resource.clone(), object)?,
    };
    Ok(Written { object, warnings })
}

/// Changes an object or, through its subresource, a part of it.
pub(super) fn change(
    store: &Store,
    addresses: &ServiceAddresses,
    target: &Target,
    parameters: &Parameters,
    change: &Change,
) -> Result<Written, ApiError> {
    let resource = &target.resource;
    if let (Resource::Custom(_), Change::Edit(Edit::Strategic(_))) = (resource, change) {
        return Err(ApiError::UnsupportedMediaType(CUSTOM_PATCH_TYPES));
    }
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let name = target.name.as_deref().unwrap_or_default();
    let mut warnings = BTreeSet::new();
    // Looked up beforehand: the store cannot be asked during an update.
    let ports = (*resource == Resource::Services).then(|| addresses.port_check(store));
    let object = store.try_update(resource.clone(), namespace, name, |object| {
        if target.subresource == Some(Subresource::Scale) {
            return change_scale(resource, object, change, parameters);
        }
        let before = object.clone();
        let part = target.subresource.map_or("", Subresource::name);
        let writer = Writer::new(resource, part, &parameters.field_manager, clock::now());
        let mut wanted = versions::to_served(target, &before).into_owned();
        let applied = match change {
            Change::Apply(config) => {
                let applied = apply::apply(&before, config, &writer, parameters)?;
                wanted = applied.object.clone();
                Some(applied)
            }
            Change::Edit(edit) => {
                perform(edit, &mut wanted, name)?;
                check_managers(resource, &wanted)?;
                None
            }
        };
        set_namespace(target, &mut wanted)?;
        check_identity(resource, &before, &wanted)?;
        warnings =
            &admission::warnings(resource, &wanted) - &admission::warnings(resource, &before);
        let wanted = typed(target, wanted, parameters, &mut warnings)?;
        *object = match target.subresource {
            Some(Subresource::Status) => with_status_of(resource, &before, &wanted)?,
            _ => with_desired_state_of(resource, &before, wanted, ports.as_ref())?,
        };
        match applied {
            Some(applied) => applied.record(&before, object, &writer),
            None => record_update(&before, object, &writer),
        }
        Ok::<_, ApiError>(())
    })?;
    Ok(Written { object, warnings })
}

fn change_scale(
    resource: &Resource,
    object: &mut Value,
    change: &Change,
    parameters: &Parameters,
) -> Result<(), ApiError> {
    let before = object.clone();
    let part = Subresource::Scale.name();
    let writer = Writer::new(resource, part, &parameters.field_manager, clock::now());
    let mut wanted = scale::of(resource, object);
    match change {
        Change::Apply(config) => {
            let config = scale::as_workload(resource, &before, config)?;
            let applied = apply::apply(&before, &config, &writer, parameters)?;
            check_version(resource, &before, &applied.object)?;
            wanted["spec"] = scale::of(resource, &applied.object)["spec"].clone();
            scale::set(resource, object, &wanted)?;
            applied.record(&before, object, &writer);
        }
        Change::Edit(edit) => {
            perform(edit, &mut wanted, object::name(&before))?;
            check_version(resource, object, &wanted)?;
            scale::set(resource, object, &wanted)?;
            record_update(&before, object, &writer);
        }
    }
    if let Resource::Custom(_) = resource {
        admission::check(resource, object, Some(&before))?;
    }
    Ok(())
}

/// The object which an apply creates when there is none.
pub(super) fn created_by_apply(
    target: &Target,
    config: &Value,
    parameters: &Parameters,
) -> Result<Origin, ApiError> {
    let resource = &target.resource;
    let name = target.name.as_deref().unwrap_or_default();
    for field in ["uid", "resourceVersion"] {
        if !object::text(&config["metadata"], &format!("/{field}")).is_empty() {
            let reason = format!("there is none, but a {field} was specified");
            return Err(conflict(resource, config, reason));
        }
    }
    let writer = Writer::new(resource, "", &parameters.field_manager, clock::now());
    let mut applied = apply::apply(&Value::Null, config, &writer, parameters)?;
    object::map_at(&mut applied.object, "metadata")["name"] = name.into();
    Ok(Origin::Applied(applied))
}

/// The managers which a client sends must be such.
fn check_managers(resource: &Resource, object: &Value) -> Result<(), ApiError> {
    managed_fields::check(object).map_err(|invalid| ApiError::Invalid {
        resource: resource.clone(),
        name: object::name(object).to_owned(),
        causes: vec![Cause::new(
            CauseReason::Invalid,
            format!(
                "metadata.managedFields[{}].{}",
                invalid.index, invalid.field
            ),
            invalid.message,
        )],
    })
}

fn perform(edit: &Edit, object: &mut Value, name: &str) -> Result<(), ApiError> {
    match edit {
        Edit::Replace(replacement) => {
            check_same_name(name, object::name(replacement))?;
            *object = replacement.clone();
            check_shape(object)?;
            object["metadata"]["name"] = name.into();
        }
        Edit::Json(patch) => patch::json(object, patch).map_err(|error| match error {
            PatchError::TooManyOperations(_) => ApiError::TooLarge(error.to_string()),
            PatchError::Failed(_) | PatchError::CopiesTooMuch | PatchError::TooDeep { .. } => {
                ApiError::JsonPatch(error.to_string())
            }
        })?,
        Edit::Merge(patch) => json_patch::merge(object, patch),
        Edit::Strategic(patch) => {
            patch::check(patch).map_err(|error| ApiError::BadRequest(error.to_string()))?;
            strategic_merge(object, patch);
        }
    }
    Ok(())
}

/// Whatever is written must be a map with a map of metadata.
fn check_shape(object: &Value) -> Result<(), ApiError> {
    let metadata = object.get("metadata");
    if object.is_object()
        && metadata.is_none_or(|metadata| metadata.is_object() || metadata.is_null())
    {
        return Ok(());
    }
    let message = "the object and its metadata must be maps";
    Err(ApiError::BadRequest(message.to_owned()))
}

fn set_namespace(target: &Target, object: &mut Value) -> Result<(), ApiError> {
    check_shape(object)?;
    let Some(namespace) = &target.namespace else {
        return Ok(());
    };
    let given = object::namespace(object);
    if !given.is_empty() && given != namespace {
        let message = format!(
            "the namespace of the provided object ({given}) does not match the namespace sent on the request ({namespace})"
        );
        return Err(ApiError::BadRequest(message));
    }
    object::map_at(object, "metadata")["namespace"] = namespace.as_str().into();
    Ok(())
}

/// Decodes an object as it is to be stored; unknown fields are an error or a
/// warning, as asked for.
fn typed(
    target: &Target,
    object: Value,
    parameters: &Parameters,
    warnings: &mut BTreeSet<String>,
) -> Result<Value, ApiError> {
    let (kind, version) = (target.resource.kind(), &target.version);
    let decoded = decode(&target.resource, version, object)?;
    let unknown: Vec<_> = decoded
        .unknown_fields
        .iter()
        .map(|field| format!("unknown field {field:?}"))
        .collect();
    match parameters.field_validation.as_str() {
        "Strict" if !unknown.is_empty() => {
            return Err(ApiError::BadRequest(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                unknown.join(", ")
            )));
        }
        "Ignore" => {}
        _ => warnings.extend(unknown),
    }
    versions::to_stored(target, decoded.object)
}

fn check_identity(resource: &Resource, before: &Value, wanted: &Value) -> Result<(), ApiError> {
    check_version(resource, before, wanted)?;
    check_same_name(object::name(before), object::name(wanted))?;
    let uid = object::uid(wanted);
    if !uid.is_empty() && uid != object::uid(before) {
        let reason = format!("the uid is {}, not {uid}", object::uid(before));
        return Err(conflict(resource, before, reason));
    }
    Ok(())
}

/// A name that is given must be the one on the URL.
fn check_same_name(name: &str, given: &str) -> Result<(), ApiError> {
    if given.is_empty() || given == name {
        return Ok(());
    }
    Err(ApiError::BadRequest(format!(
        "the name of the object ({given}) does not match the name on the URL ({name})"
    )))
}

fn check_version(resource: &Resource, before: &Value, wanted: &Value) -> Result<(), ApiError> {
    let version = object::text(wanted, "/metadata/resourceVersion");
    if version.is_empty() || version == object::text(before, "/metadata/resourceVersion") {
        return Ok(());
    }
    let reason = "the object has been modified; please apply your changes to the latest version and try again";
    Err(conflict(resource, before, reason.to_owned()))
}

fn conflict(resource: &Resource, object: &Value, reason: String) -> ApiError {
    StoreError::Conflict {
        resource: resource.clone(),
        name: object::name(object).to_owned(),
        reason,
    }
    .into()
}

/// The main path: everything but the status changes.
fn with_desired_state_of(
    resource: &Resource,
    before: &Value,
    mut wanted: Value,
    ports: Option<&PortCheck>,
) -> Result<Value, ApiError> {
    if resource.has(Subresource::Status) {
        copy_field(before, &mut wanted, "status");
    }
    wanted["metadata"]["generation"] = before["metadata"]["generation"].clone();
    if *resource == Resource::Services {
        service_address::keep(before, &mut wanted);
    }
    admission::set_defaults(resource, &mut wanted);
    let mut decided = decode(resource, resource.version(), wanted)?.object;
    admission::check(resource, &decided, Some(before))?;
    if let Some(ports) = ports {
        ports.check(&decided, Some(before))?;
    }
    // Of all kinds Deployments alone count a change of annotations.
    let annotations = |object: &Value| object::string_map(object, "/metadata/annotations");
    if *resource == Resource::Deployments
        && annotations(before) != annotations(&decided)
        && before["spec"] == decided["spec"]
    {
        let generation = before["metadata"]["generation"]
            .as_u64()
            .unwrap_or_default();
        decided["metadata"]["generation"] = (generation + 1).into();
    }
    Ok(decided)
}

/// The status path: the status changes and, but for custom kinds, annotations
/// and finalizers may.
fn with_status_of(resource: &Resource, before: &Value, wanted: &Value) -> Result<Value, ApiError> {
    let mut decided = before.clone();
    copy_field(wanted, &mut decided, "status");
    if let Resource::Custom(_) = resource {
        admission::set_defaults(resource, &mut decided);
        admission::check(resource, &decided, Some(before))?;
        return Ok(decided);
    }
    for field in ["annotations", "finalizers", "ownerReferences"] {
        copy_field(&wanted["metadata"], &mut decided["metadata"], field);
    }
    Ok(decided)
}

/// Makes a field what it is elsewhere, also absent.
fn copy_field(from: &Value, to: &mut Value, field: &str) {
    match (from.get(field), to) {
        (Some(value), to) => to[field] = value.clone(),
        (None, Value::Object(fields)) => drop(fields.remove(field)),
        (None, _) => {}
    }
}
