//! Server-side apply as a request: what it has to be like, what it is told.

use http::Method;
use serde_json::Value;

use super::decode::decode;
use super::error::{ApiError, Cause, CauseReason};
use super::request::{Parameters, Target};
use crate::managed_fields::{self, Applied, Conflict, Conflicts, Writer};
use crate::object::{self, text};
use crate::store::api_version as api_version_of;

/// The manager which moves from `kubectl apply` to `kubectl apply --server-side`.
const KUBECTL: &str = "kubectl";
/// What `kubectl apply` without server-side apply notes.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

const MAX_MANAGER_LENGTH: usize = 128;

/// Whether a PATCH is one of server-side apply.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum PatchKind {
    Apply,
    Other,
}

/// Checks the parameters of a write as the client gave them. Only an apply must
/// name its manager: the others are known by the name of the client.
pub(super) fn check_parameters(
    method: &Method,
    kind: PatchKind,
    parameters: &Parameters,
) -> Result<(), ApiError> {
    let options = match *method {
        Method::POST => "CreateOptions",
        Method::PUT => "UpdateOptions",
        Method::PATCH => "PatchOptions",
        _ => return Ok(()),
    };
    let manager = &parameters.field_manager;
    let mut causes = Vec::new();
    if kind == PatchKind::Apply && manager.is_empty() {
        let message = "is required for apply patch";
        causes.push(Cause::new(CauseReason::Required, "fieldManager", message));
    }
    if kind == PatchKind::Other && *method == Method::PATCH && parameters.force() {
        let message = "may not be specified for non-apply patch";
        causes.push(Cause::new(CauseReason::Forbidden, "force", message));
    }
    if manager.len() > MAX_MANAGER_LENGTH || manager.chars().any(char::is_control) {
        let message = format!(
            "{manager:?}: must have at most {MAX_MANAGER_LENGTH} bytes, all of them printable"
        );
        causes.push(Cause::new(CauseReason::Invalid, "fieldManager", message));
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::InvalidOptions {
        kind: options,
        causes,
    })
}

/// Checks an applied object, as far as that is possible without the live one.
pub(super) fn check(target: &Target, config: &Value) -> Result<(), ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let expected = api_version_of(target.resource.group(), &target.version);
    let refused = |message: String| Err(ApiError::BadRequest(message));
    let (api_version, kind) = (text(config, "/apiVersion"), text(config, "/kind"));
    if api_version != expected {
        return refused(format!(
            "Incorrect version specified in apply patch. Specified patch version: {api_version}, expected: {expected}"
        ));
    }
    if kind.is_empty() {
        return refused("an applied object must have a kind".to_owned());
    }
    if config["metadata"].get("managedFields").is_some() {
        return refused("metadata.managedFields must be nil".to_owned());
    }
    let given = object::name(config);
    if !given.is_empty() && given != name {
        return refused(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        ));
    }
    let untyped = |problem: String| {
        refused(format!(
            "failed to create typed patch object ({}/{name}; {api_version}, Kind={kind}): {problem}",
            object::namespace(config)
        ))
    };
    let unknown = decode(&target.resource, &target.version, config.clone())?.unknown_fields;
    if let Some(field) = unknown.first() {
        return untyped(format!(".{field}: field not declared in schema"));
    }
    match managed_fields::malformed_list(&target.resource, config) {
        Some(problem) => untyped(problem),
        None => Ok(()),
    }
}

/// Applies an object to the live one, or to nothing.
///
/// kubectl may take over what it managed before by client-side apply, and as
/// long as that left a note, the note is kept up to date.
pub(super) fn apply(
    live: &Value,
    config: &Value,
    writer: &Writer<'_>,
    parameters: &Parameters,
) -> Result<Applied, ApiError> {
    let wanted = if parameters.force() {
        Conflicts::TakeOver
    } else {
        Conflicts::Refuse
    };
    let is_kubectl = parameters.field_manager == KUBECTL;
    let last_applied = note(live).filter(|_| is_kubectl);
    let outcome = managed_fields::apply(live, config, writer, wanted).or_else(|conflicts| {
        let own = last_applied
            .as_ref()
            .map(|last| managed_fields::agreed_fields(last, live, writer));
        let foreign: Vec<Conflict> = match own {
            Some(own) => conflicts
                .into_iter()
                .filter_map(|conflict| conflict.without(&own))
                .collect(),
            None => conflicts,
        };
        if foreign.is_empty() {
            managed_fields::apply(live, config, writer, Conflicts::TakeOver)
        } else {
            Err(foreign)
        }
    });
    let mut applied = outcome.map_err(|conflicts| refusal(&conflicts))?;
    if last_applied.is_some() {
        let mut noted = config.clone();
        if let Some(annotations) = noted.pointer_mut("/metadata/annotations")
            && let Some(annotations) = annotations.as_object_mut()
        {
            annotations.remove(LAST_APPLIED);
        }
        let metadata = object::map_at(&mut applied.object, "metadata");
        object::map_at(metadata, "annotations")[LAST_APPLIED] = format!("{noted}\n").into();
    }
    Ok(applied)
}

/// What client-side apply noted in an object.
fn note(live: &Value) -> Option<Value> {
    let note = live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    serde_json::from_str(note).ok()
}

fn refusal(conflicts: &[Conflict]) -> ApiError {
    let causes = |conflict: &Conflict| -> Vec<Cause> {
        let message = format!("conflict with {}", conflict.manager);
        let paths = conflict.fields.paths().into_iter();
        paths
            .map(|path| Cause::new(CauseReason::ManagerConflict, path, message.clone()))
            .collect()
    };
    let causes: Vec<Cause> = conflicts.iter().flat_map(causes).collect();
    let message = match causes.as_slice() {
        [only] => format!(
            "Apply failed with 1 conflict: {}: {}",
            only.message, only.field
        ),
        _ => {
            let listed = conflicts.iter().map(|conflict| {
                let paths: Vec<_> = conflict
                    .fields
                    .paths()
                    .iter()
                    .map(|path| format!("- {path}"))
                    .collect();
                format!("conflicts with {}:\n{}", conflict.manager, paths.join("\n"))
            });
            let listed: Vec<_> = listed.collect();
            format!(
                "Apply failed with {} conflicts: {}",
                causes.len(),
                listed.join("\n")
            )
        }
    };
    ApiError::ApplyConflict { message, causes }
}
