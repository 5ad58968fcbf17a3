//! Creating, replacing and patching objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderMap, header};
use serde_json::Value;

use super::admission;
use super::apply::{self, PatchKind};
use super::decode::decode;
use super::error::{ApiError, Cause, CauseReason};
use super::protobuf;
use super::request::{Parameters, Target};
use super::scale;
use super::service_address::{self, PortCheck, ServiceAddresses};
use super::versions;
use crate::clock;
use crate::managed_fields::{self, Applied, Writer, record_update};
use crate::object;
use crate::patch::{self, strategic_merge};
use crate::store::{Resource, Store, StoreError, Stored, Subresource};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";
/// Only built-in kinds have merge keys.
const CUSTOM_PATCH_TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
const BODY_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

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

/// Reads a body as the object it describes.
pub(super) fn parse_body(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    match media_type(headers) {
        "application/json" | "" => from_json(body),
        "application/yaml" => from_yaml(body),
        PROTOBUF => protobuf::decode(body).map_err(|error| {
            ApiError::BadRequest(format!("the body in protobuf cannot be read: {error}"))
        }),
        _ => Err(ApiError::UnsupportedMediaType(BODY_TYPES)),
    }
}

/// Reads the body of a PATCH.
pub(super) fn parse_patch(headers: &HeaderMap, body: &[u8]) -> Result<Change, ApiError> {
    match media_type(headers) {
        JSON_PATCH => serde_json::from_slice(body)
            .map(|patch| Change::Edit(Edit::Json(patch)))
            .map_err(|error| ApiError::BadRequest(format!("the body is no JSON patch: {error}"))),
        MERGE_PATCH => from_json(body).map(|patch| Change::Edit(Edit::Merge(patch))),
        STRATEGIC_PATCH => from_json(body).map(|patch| Change::Edit(Edit::Strategic(patch))),
        APPLY_PATCH => from_yaml(body).map(Change::Apply),
        _ => Err(ApiError::UnsupportedMediaType(PATCH_TYPES)),
    }
}

/// Whether a PATCH is one of server-side apply.
pub(super) fn patch_kind(headers: &HeaderMap) -> PatchKind {
    match media_type(headers) {
        APPLY_PATCH => PatchKind::Apply,
        _ => PatchKind::Other,
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn from_json(body: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::BadRequest(format!("the body is no JSON: {error}")))?;
    map_only(value)
}

fn from_yaml(body: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_saphyr::from_slice(body)
        .map_err(|error| ApiError::BadRequest(format!("the body is no YAML: {error}")))?;
    map_only(value)
}

fn map_only(value: Value) -> Result<Value, ApiError> {
    if value.is_object() {
        return Ok(value);
    }
    Err(ApiError::BadRequest("the body is no object".to_owned()))
}

/// Stores a new object.
pub(super) fn create(
    store: &Store,
    addresses: &ServiceAddresses,
    target: &Target,
    parameters: &Parameters,
    origin: Origin,
) -> Result<Written, ApiError> {
    let resource = target.resource;
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
        _ => store.create(resource, object)?,
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
    let resource = target.resource;
    if let (Resource::Custom(_), Change::Edit(Edit::Strategic(_))) = (resource, change) {
        return Err(ApiError::UnsupportedMediaType(CUSTOM_PATCH_TYPES));
    }
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let name = target.name.as_deref().unwrap_or_default();
    let mut warnings = BTreeSet::new();
    // Looked up beforehand: the store cannot be asked during an update.
    let ports = (resource == Resource::Services).then(|| addresses.port_check(store));
    let object = store.try_update(resource, namespace, name, |object| {
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
    resource: Resource,
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
    let resource = target.resource;
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
fn check_managers(resource: Resource, object: &Value) -> Result<(), ApiError> {
    managed_fields::check(object).map_err(|invalid| ApiError::Invalid {
        resource,
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
            let given = object::name(replacement);
            if !given.is_empty() && given != name {
                let message = format!(
                    "the name of the object ({given}) does not match the name on the URL ({name})"
                );
                return Err(ApiError::BadRequest(message));
            }
            *object = replacement.clone();
            object["metadata"]["name"] = name.into();
        }
        Edit::Json(patch) => {
            patch::json(object, patch).map_err(|error| ApiError::JsonPatch(error.to_string()))?
        }
        Edit::Merge(patch) => json_patch::merge(object, patch),
        Edit::Strategic(patch) => {
            patch::check(patch).map_err(|error| ApiError::BadRequest(error.to_string()))?;
            strategic_merge(object, patch);
        }
    }
    Ok(())
}

fn set_namespace(target: &Target, object: &mut Value) -> Result<(), ApiError> {
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
    let (kind, version) = (target.resource.kind(), target.version);
    let decoded = decode(target.resource, version, object)?;
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

fn check_identity(resource: Resource, before: &Value, wanted: &Value) -> Result<(), ApiError> {
    check_version(resource, before, wanted)?;
    let uid = object::uid(wanted);
    if !uid.is_empty() && uid != object::uid(before) {
        let reason = format!("the uid is {}, not {uid}", object::uid(before));
        return Err(conflict(resource, before, reason));
    }
    Ok(())
}

fn check_version(resource: Resource, before: &Value, wanted: &Value) -> Result<(), ApiError> {
    let version = object::text(wanted, "/metadata/resourceVersion");
    if version.is_empty() || version == object::text(before, "/metadata/resourceVersion") {
        return Ok(());
    }
    let reason = "the object has been modified; please apply your changes to the latest version and try again";
    Err(conflict(resource, before, reason.to_owned()))
}

fn conflict(resource: Resource, object: &Value, reason: String) -> ApiError {
    StoreError::Conflict {
        resource,
        name: object::name(object).to_owned(),
        reason,
    }
    .into()
}

/// The main path: everything but the status changes.
fn with_desired_state_of(
    resource: Resource,
    before: &Value,
    mut wanted: Value,
    ports: Option<&PortCheck>,
) -> Result<Value, ApiError> {
    if resource.has(Subresource::Status) {
        copy_field(before, &mut wanted, "status");
    }
    wanted["metadata"]["generation"] = before["metadata"]["generation"].clone();
    if resource == Resource::Services {
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
    if resource == Resource::Deployments
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
fn with_status_of(resource: Resource, before: &Value, wanted: &Value) -> Result<Value, ApiError> {
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
