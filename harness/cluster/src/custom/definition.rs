//! CustomResourceDefinitions themselves: defaults, checks, warnings.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionSpec,
    CustomResourceDefinitionVersion,
};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{schema, version};
use crate::cause::{Cause, CauseReason};
use crate::object::{self, text};

const NOT_SUPPORTED: &str = "not supported by the local cluster";
const MAX_LABEL_LENGTH: usize = 63;

/// The annotation without which the groups of Kubernetes itself are closed.
const APPROVAL: &str = "api-approved.kubernetes.io";

/// Finalizer by which a definition's objects are deleted before it.
pub(crate) const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in what the author left out.
pub(crate) fn set_defaults(definition: &mut Value) {
    let spec = object::map_at(definition, "spec");
    let names = object::map_at(spec, "names");
    let kind = text(names, "/kind").to_owned();
    let derived = [
        ("singular", kind.to_lowercase()),
        ("listKind", format!("{kind}List")),
    ];
    for (field, value) in derived {
        if !kind.is_empty() && text(names, &format!("/{field}")).is_empty() {
            names[field] = value.into();
        }
    }
    if text(spec, "/conversion/strategy").is_empty() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    hold_back(definition);
}

/// Keeps a definition until its objects are gone. Once it is being deleted,
/// whoever removes the finalizer means it.
fn hold_back(definition: &mut Value) {
    let held = object::finalizers(definition).any(|present| present == CLEANUP_FINALIZER);
    if held || object::is_deleting(definition) {
        return;
    }
    let metadata = object::map_at(definition, "metadata");
    match metadata["finalizers"].as_array_mut() {
        Some(finalizers) => finalizers.push(CLEANUP_FINALIZER.into()),
        None => metadata["finalizers"] = json!([CLEANUP_FINALIZER]),
    }
}

/// The status of a new definition.
pub(crate) fn initial_status(definition: &Value) -> Value {
    let stored = definition.pointer("/spec/versions/0/name");
    json!({
        "acceptedNames": {"kind": "", "plural": ""},
        "conditions": [],
        "storedVersions": [stored],
    })
}

/// What is accepted and means nothing.
pub(crate) fn warnings(definition: &Value) -> BTreeSet<String> {
    let mut warnings = BTreeSet::new();
    collect_formats(&definition["spec"]["versions"], &mut warnings);
    warnings
}

fn collect_formats(value: &Value, warnings: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    // Values, not schemas.
                    _ if matches!(name.as_str(), "default" | "enum" | "example") => {}
                    Value::String(format) if name == "format" && fields.contains_key("type") => {
                        if !schema::is_known_format(format) {
                            warnings.insert(format!("unrecognized format {format:?}"));
                        }
                    }
                    value => collect_formats(value, warnings),
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                collect_formats(element, warnings);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is wrong with a new definition, or with `old` with a change.
pub(crate) fn check(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    match CustomResourceDefinition::deserialize(new) {
        Ok(definition) => {
            check_definition(&definition, &mut causes);
            if let Some(old) = old {
                check_change(new, old, &mut causes);
            }
        }
        Err(error) => {
            causes.push(Cause::new(CauseReason::Invalid, "spec", error.to_string()));
        }
    }
    causes
}

fn check_definition(definition: &CustomResourceDefinition, causes: &mut Vec<Cause>) {
    let spec = &definition.spec;
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    if name != format!("{}.{}", spec.names.plural, spec.group) {
        let message = format!("{name:?}: must be spec.names.plural+\".\"+spec.group");
        causes.push(Cause::new(CauseReason::Invalid, "metadata.name", message));
    }
    check_group(definition, causes);
    check_names(&spec.names, causes);
    if !matches!(spec.scope.as_str(), "Namespaced" | "Cluster") {
        let message = format!(
            "{:?}: supported values: \"Cluster\", \"Namespaced\"",
            spec.scope
        );
        causes.push(Cause::new(CauseReason::NotSupported, "spec.scope", message));
    }
    if spec.preserve_unknown_fields == Some(true) {
        let message = "true: must be false, and x-kubernetes-preserve-unknown-fields in the schema takes its place";
        let field = "spec.preserveUnknownFields";
        causes.push(Cause::new(CauseReason::Invalid, field, message));
    }
    let strategy = spec
        .conversion
        .as_ref()
        .map(|conversion| conversion.strategy.as_str());
    if let Some(strategy) = strategy.filter(|strategy| *strategy != "None") {
        let message = format!("{strategy}: {NOT_SUPPORTED}");
        let field = "spec.conversion.strategy";
        causes.push(Cause::new(CauseReason::Forbidden, field, message));
    }
    check_versions(spec, causes);
}

fn check_group(definition: &CustomResourceDefinition, causes: &mut Vec<Cause>) {
    let group = &definition.spec.group;
    if !group.contains('.') || !group.split('.').all(is_label) {
        let message = format!("{group:?}: should be a domain with at least one dot");
        causes.push(Cause::new(CauseReason::Invalid, "spec.group", message));
    }
    let annotations = definition.metadata.annotations.as_ref();
    let approved = annotations.is_some_and(|annotations| annotations.contains_key(APPROVAL));
    let below = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if (below("k8s.io") || below("kubernetes.io")) && !approved {
        let message = format!("protected groups must have approval annotation {APPROVAL:?}");
        let field = format!("metadata.annotations[{APPROVAL}]");
        causes.push(Cause::new(CauseReason::Required, field, message));
    }
}

fn check_names(names: &CustomResourceDefinitionNames, causes: &mut Vec<Cause>) {
    let lists = names.short_names.iter().map(|names| ("shortNames", names));
    let lists = lists.chain(names.categories.iter().map(|names| ("categories", names)));
    let listed = lists.flat_map(|(field, names)| {
        let names = names.iter().enumerate();
        names.map(move |(index, name)| (format!("{field}[{index}]"), name.clone()))
    });
    let single = [
        ("plural", names.plural.clone()),
        ("singular", names.singular.clone().unwrap_or_default()),
        ("kind", names.kind.to_lowercase()),
        (
            "listKind",
            names.list_kind.clone().unwrap_or_default().to_lowercase(),
        ),
    ];
    let single = single.map(|(field, name)| (field.to_owned(), name));
    for (field, name) in single.into_iter().chain(listed) {
        let field = format!("spec.names.{field}");
        if name.is_empty() {
            causes.push(Cause::new(CauseReason::Required, field, ""));
        } else if !is_label(&name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!(
                "{name:?}: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character"
            );
            causes.push(Cause::new(CauseReason::Invalid, field, message));
        }
    }
    if names.list_kind.as_ref() == Some(&names.kind) {
        let message = format!("{:?}: kind and listKind may not be the same", names.kind);
        causes.push(Cause::new(
            CauseReason::Invalid,
            "spec.names.listKind",
            message,
        ));
    }
}

fn is_label(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=MAX_LABEL_LENGTH).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn check_versions(spec: &CustomResourceDefinitionSpec, causes: &mut Vec<Cause>) {
    match spec.versions.as_slice() {
        [] => {
            let message = "must have exactly one version marked as storage version";
            causes.push(Cause::new(CauseReason::Invalid, "spec.versions", message));
        }
        [only] => check_version(only, "spec.versions[0]", causes),
        [_, others @ ..] => {
            for index in 1..=others.len() {
                let message = format!("more than one version is {NOT_SUPPORTED}");
                let field = format!("spec.versions[{index}]");
                causes.push(Cause::new(CauseReason::Forbidden, field, message));
            }
        }
    }
}

fn check_version(raw: &CustomResourceDefinitionVersion, path: &str, causes: &mut Vec<Cause>) {
    if !is_label(&raw.name) || raw.name.starts_with(|c: char| c.is_ascii_digit()) {
        let message = format!("{:?}: must be a DNS-1035 label such as v1alpha1", raw.name);
        causes.push(Cause::new(
            CauseReason::Invalid,
            format!("{path}.name"),
            message,
        ));
    }
    if !raw.storage {
        let message = "must have exactly one version marked as storage version";
        causes.push(Cause::new(CauseReason::Invalid, "spec.versions", message));
    }
    if !raw.served {
        let message = format!("a version which is not served is {NOT_SUPPORTED}");
        causes.push(Cause::new(
            CauseReason::Forbidden,
            format!("{path}.served"),
            message,
        ));
    }
    if raw.deprecated == Some(true) || raw.deprecation_warning.is_some() {
        let message = format!("warning of a version is {NOT_SUPPORTED}");
        causes.push(Cause::new(
            CauseReason::Forbidden,
            format!("{path}.deprecated"),
            message,
        ));
    }
    version::read(raw, path, causes);
}

/// Group and plural cannot change, as they are in the name.
fn check_change(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for field in ["scope", "names/kind", "versions/0/name"] {
        let pointer = format!("/spec/{field}");
        let (new, old) = (new.pointer(&pointer), old.pointer(&pointer));
        if new != old {
            let shown = new.cloned().unwrap_or_default();
            let field = format!("spec.{}", field.replace("/0/", "[0].").replace('/', "."));
            let message = format!("{shown}: field is immutable");
            causes.push(Cause::new(CauseReason::Invalid, field, message));
        }
    }
}
