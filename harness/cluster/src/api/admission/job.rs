//! Jobs: the values of fields left out, the selector the server makes, and checks.

use serde_json::{Value, json};

use super::defaults::{default, pod_spec};
use super::{Cause, CauseReason, NOT_SUPPORTED, pod_checks};
use crate::object;
use crate::selector::Selector;

const CONTROLLER_UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// The names which these labels had before, kept for those who select by them.
const LEGACY_CONTROLLER_UID_LABEL: &str = "controller-uid";
const LEGACY_JOB_NAME_LABEL: &str = "job-name";

const MAX_LABEL_LENGTH: usize = 63;
const DEFAULT_BACKOFF_LIMIT: u32 = 6;
const MAX_INDEXED_PARALLELISM: i64 = 100_000;

/// Fields which would change how a Job ends, and cannot be honoured.
const UNSUPPORTED_FIELDS: [&str; 4] = [
    "backoffLimitPerIndex",
    "maxFailedIndexes",
    "podFailurePolicy",
    "successPolicy",
];
const IMMUTABLE_FIELDS: [&str; 3] = ["selector", "completionMode", "managedBy"];

pub(super) fn set_defaults(job: &mut Value) {
    let spec = object::map_at(job, "spec");
    if spec["parallelism"].is_null() {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    default(spec, "backoffLimit", DEFAULT_BACKOFF_LIMIT);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    default(spec, "podReplacementPolicy", "TerminatingOrFailed");
    let template = object::map_at(spec, "template");
    pod_spec(object::map_at(template, "spec"));
    let labels = template["metadata"]["labels"].clone();
    if object::labels(job).is_empty() && labels.is_object() {
        object::map_at(job, "metadata")["labels"] = labels;
    }
}

/// Lets a new Job, which must have its uid already, select its own pods and no others.
pub(super) fn generate_selector(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (name, uid) = (object::name(job).to_owned(), object::uid(job).to_owned());
    let spec = object::map_at(job, "spec");
    let template = object::map_at(spec, "template");
    let labels = object::map_at(object::map_at(template, "metadata"), "labels");
    for (label, value) in [
        (CONTROLLER_UID_LABEL, &uid),
        (LEGACY_CONTROLLER_UID_LABEL, &uid),
        (JOB_NAME_LABEL, &name),
        (LEGACY_JOB_NAME_LABEL, &name),
    ] {
        default(labels, label, value.as_str());
    }
    let selected = object::map_at(object::map_at(spec, "selector"), "matchLabels");
    default(selected, CONTROLLER_UID_LABEL, uid);
}

pub(super) fn check(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    for field in UNSUPPORTED_FIELDS {
        if !spec[field].is_null() {
            forbid(causes, field, NOT_SUPPORTED);
        }
    }
    check_numbers(spec, causes);
    check_choice(
        spec,
        "podReplacementPolicy",
        &["Failed", "TerminatingOrFailed"],
        causes,
    );
    check_choice(spec, "completionMode", &["Indexed", "NonIndexed"], causes);
    if spec["completionMode"] == "Indexed" {
        check_indexed(new, causes);
    }
    check_selector(new, causes);
    check_template(&spec["template"], causes);
    if let Some(old) = old {
        check_change(spec, &old["spec"], causes);
    }
}

fn forbid(causes: &mut Vec<Cause>, field: &str, message: &str) {
    causes.push(Cause::new(
        CauseReason::Forbidden,
        format!("spec.{field}"),
        message,
    ));
}

fn invalid(causes: &mut Vec<Cause>, field: &str, message: impl Into<String>) {
    causes.push(Cause::new(
        CauseReason::Invalid,
        format!("spec.{field}"),
        message.into(),
    ));
}

fn check_numbers(spec: &Value, causes: &mut Vec<Cause>) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        if spec[field].as_i64().is_some_and(|number| number < 0) {
            let message = format!("{}: must be greater than or equal to 0", spec[field]);
            invalid(causes, field, message);
        }
    }
}

fn check_choice(spec: &Value, field: &str, known: &[&str], causes: &mut Vec<Cause>) {
    let given = object::text(spec, &format!("/{field}"));
    if !known.contains(&given) {
        let message = format!("{given:?}: supported values: {known:?}");
        invalid(causes, field, message);
    }
}

/// Each index makes a name of its own for a host, so all of them must fit one.
fn check_indexed(job: &Value, causes: &mut Vec<Cause>) {
    let spec = &job["spec"];
    let Some(completions) = spec["completions"].as_i64() else {
        let message = "when completion mode is Indexed";
        causes.push(Cause::new(
            CauseReason::Required,
            "spec.completions",
            message,
        ));
        return;
    };
    if spec["parallelism"]
        .as_i64()
        .is_some_and(|parallelism| parallelism > MAX_INDEXED_PARALLELISM)
    {
        let message = format!(
            "must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
        );
        invalid(causes, "parallelism", message);
    }
    let host = format!("{}-{}", object::name(job), completions.saturating_sub(1));
    if completions > 0 && (host.len() > MAX_LABEL_LENGTH || host.contains('.')) {
        let message = format!(
            "{host:?}: the last index's host name must be at most {MAX_LABEL_LENGTH} characters without '.'"
        );
        causes.push(Cause::new(CauseReason::Invalid, "metadata.name", message));
    }
}

fn check_selector(job: &Value, causes: &mut Vec<Cause>) {
    let spec = &job["spec"];
    let labels = object::labels(&spec["template"]);
    if spec["manualSelector"] == true {
        super::check_selector(spec, causes);
        return;
    }
    // The uid was known before the Job was stored, so a copied selector shows.
    let own = Selector::of_labels(
        &[(CONTROLLER_UID_LABEL.to_owned(), object::uid(job).to_owned())].into(),
    );
    let given = serde_json::from_value(spec["selector"].clone()).ok();
    let given = given.and_then(|selector| Selector::of_label_selector(&selector));
    if given != Some(own) {
        let message = "`selector` not auto-generated: leave it out, or set `manualSelector`";
        invalid(causes, "selector", message);
    }
    for (label, expected) in [
        (CONTROLLER_UID_LABEL, object::uid(job)),
        (LEGACY_CONTROLLER_UID_LABEL, object::uid(job)),
        (JOB_NAME_LABEL, object::name(job)),
        (LEGACY_JOB_NAME_LABEL, object::name(job)),
    ] {
        if labels.get(label).is_none_or(|value| value != expected) {
            let message = format!("{label}: must be '{expected}'");
            invalid(causes, "template.metadata.labels", message);
        }
    }
}

fn check_template(template: &Value, causes: &mut Vec<Cause>) {
    pod_checks::check_pod_spec(&template["spec"], "spec.template.spec", causes);
    let policy = object::text(template, "/spec/restartPolicy");
    if !matches!(policy, "OnFailure" | "Never") {
        causes.push(Cause::new(
            CauseReason::Required,
            "spec.template.spec.restartPolicy",
            "valid values: \"OnFailure\", \"Never\"",
        ));
    }
}

fn check_change(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for field in IMMUTABLE_FIELDS {
        if new[field] != old[field] {
            invalid(causes, field, "field is immutable");
        }
    }
    let normal = |template: &Value| {
        let mut template = template.clone();
        // Reading a template through its type leaves out what says nothing.
        if let Some(metadata) = template["metadata"].as_object_mut() {
            metadata.retain(|_, value| *value != json!({}) && !value.is_null());
        }
        template
    };
    if normal(&new["template"]) != normal(&old["template"]) {
        invalid(causes, "template", "field is immutable");
    }
    let elastic = new["completionMode"] == "Indexed"
        && new["completions"].is_number()
        && new["completions"] == new["parallelism"];
    if new["completions"] != old["completions"] && !elastic {
        let message = "field is immutable unless, in an Indexed Job, it changes together with `parallelism` to the same value";
        invalid(causes, "completions", message);
    }
}

#[cfg(test)]
mod tests;
