//! Checks of pod specs, in pods and in templates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Cause, CauseReason, NOT_SUPPORTED, check_port};
use crate::object;

mod handlers;

/// Fields which would change what a pod does, and cannot be honoured.
const UNSUPPORTED_POD_FIELDS: [&str; 12] = [
    "hostNetwork",
    "hostIPC",
    "affinity",
    "nodeSelector",
    "ephemeralContainers",
    "resourceClaims",
    "schedulingGates",
    "runtimeClassName",
    "hostAliases",
    "dnsConfig",
    "overhead",
    "shareProcessNamespace",
];
const UNSUPPORTED_CONTAINER_FIELDS: [&str; 5] = [
    "volumeDevices",
    "stdin",
    "tty",
    "resizePolicy",
    "restartPolicy",
];
const UNSUPPORTED_SECURITY_FIELDS: [&str; 5] = [
    "runAsUser",
    "runAsGroup",
    "fsGroup",
    "supplementalGroups",
    "privileged",
];
const DEFAULT_GRACE_SECONDS: i64 = 30;

pub(super) fn check_pod_spec(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    refuse_fields(spec, path, &UNSUPPORTED_POD_FIELDS, causes);
    refuse_fields(
        &spec["securityContext"],
        &format!("{path}.securityContext"),
        &UNSUPPORTED_SECURITY_FIELDS,
        causes,
    );
    check_volumes(spec, path, causes);
    check_times(spec, path, causes);
    check_readiness_gates(spec, path, causes);
    let system = object::text(spec, "/os/name");
    if !matches!(system, "" | "linux") {
        let message = format!("{system}: {NOT_SUPPORTED}");
        causes.push(Cause::new(
            CauseReason::Forbidden,
            format!("{path}.os.name"),
            message,
        ));
    }
    let grace_seconds = spec["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(DEFAULT_GRACE_SECONDS);
    if elements(spec, "containers").next().is_none() {
        causes.push(Cause::new(
            CauseReason::Required,
            format!("{path}.containers"),
            "a container is required",
        ));
    }
    let mut names = BTreeSet::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in elements(spec, list).enumerate() {
            let path = format!("{path}.{list}[{index}]");
            let name = object::text(container, "/name");
            if !names.insert(name) {
                let message = format!("{name:?}");
                causes.push(Cause::new(
                    CauseReason::Duplicate,
                    format!("{path}.name"),
                    message,
                ));
            }
            check_container(container, &path, causes);
            if list == "initContainers" {
                forbid_in_init_container(container, &path, causes);
            } else {
                check_handlers(container, &path, grace_seconds, causes);
            }
        }
    }
}

fn check_times(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let longest = i64::from(i32::MAX);
    for (field, allowed) in [
        ("terminationGracePeriodSeconds", 0..=i64::MAX),
        ("activeDeadlineSeconds", 1..=longest),
    ] {
        if spec[field]
            .as_i64()
            .is_some_and(|seconds| !allowed.contains(&seconds))
        {
            let message = format!(
                "{}: must be between {} and {}, inclusive",
                spec[field],
                allowed.start(),
                allowed.end()
            );
            causes.push(Cause::new(
                CauseReason::Invalid,
                format!("{path}.{field}"),
                message,
            ));
        }
    }
}

fn check_readiness_gates(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (index, gate) in elements(spec, "readinessGates").enumerate() {
        if object::text(gate, "/conditionType").is_empty() {
            causes.push(Cause::new(
                CauseReason::Required,
                format!("{path}.readinessGates[{index}].conditionType"),
                "the type of a condition is required",
            ));
        }
    }
}

/// The pod itself waits for init containers: nothing else is asked about them.
fn forbid_in_init_container(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    for field in handlers::PROBES.into_iter().chain(["lifecycle"]) {
        if is_set(&container[field]) {
            let message = "may not be set for init containers";
            causes.push(Cause::new(
                CauseReason::Forbidden,
                format!("{path}.{field}"),
                message,
            ));
        }
    }
}

fn check_handlers(container: &Value, path: &str, grace_seconds: i64, causes: &mut Vec<Cause>) {
    for kind in handlers::PROBES {
        if let Some(probe) = container.get(kind).filter(|probe| probe.is_object()) {
            handlers::check_probe(kind, probe, &format!("{path}.{kind}"), causes);
        }
    }
    let lifecycle = format!("{path}.lifecycle");
    handlers::check_lifecycle(&container["lifecycle"], &lifecycle, grace_seconds, causes);
}

fn elements<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object[field].as_array().into_iter().flatten()
}

/// Whether a field says something. Absent, null, false and empty say nothing.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
    }
}

fn refuse_fields(object: &Value, path: &str, fields: &[&str], causes: &mut Vec<Cause>) {
    let set = fields.iter().filter(|field| is_set(&object[**field]));
    causes.extend(set.map(|field| {
        Cause::new(
            CauseReason::Forbidden,
            format!("{path}.{field}"),
            NOT_SUPPORTED,
        )
    }));
}

fn check_volumes(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (index, volume) in elements(spec, "volumes").enumerate() {
        let sources = volume
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, _)| field.as_str());
        for source in sources.filter(|field| !matches!(*field, "name" | "emptyDir")) {
            let field = format!("{path}.volumes[{index}].{source}");
            causes.push(Cause::new(CauseReason::Forbidden, field, NOT_SUPPORTED));
        }
    }
}

/// Without mount namespaces a path in a container is a path of the machine itself.
fn check_mounts(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    if is_set(&container["volumeMounts"]) {
        let message = format!(
            "{NOT_SUPPORTED}: nothing is mounted; let the program write below the folder in $TMPDIR"
        );
        let field = format!("{path}.volumeMounts");
        causes.push(Cause::new(CauseReason::Forbidden, field, message));
    }
}

fn check_container(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    for field in ["name", "image"] {
        if object::text(container, &format!("/{field}")).is_empty() {
            causes.push(Cause::new(
                CauseReason::Required,
                format!("{path}.{field}"),
                format!("a {field} is required"),
            ));
        }
    }
    refuse_fields(container, path, &UNSUPPORTED_CONTAINER_FIELDS, causes);
    let security = format!("{path}.securityContext");
    refuse_fields(
        &container["securityContext"],
        &security,
        &UNSUPPORTED_SECURITY_FIELDS,
        causes,
    );
    for (index, port) in elements(container, "ports").enumerate() {
        let path = format!("{path}.ports[{index}]");
        check_port(
            &port["containerPort"],
            &format!("{path}.containerPort"),
            causes,
        );
        if object::text(port, "/protocol") != "TCP" {
            causes.push(Cause::new(
                CauseReason::Forbidden,
                format!("{path}.protocol"),
                NOT_SUPPORTED,
            ));
        }
        refuse_fields(port, &path, &["hostPort", "hostIP"], causes);
    }
    check_mounts(container, path, causes);
    check_environment(container, path, causes);
}

fn check_environment(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (index, variable) in elements(container, "env").enumerate() {
        let path = format!("{path}.env[{index}]");
        if object::text(variable, "/name").is_empty() {
            causes.push(Cause::new(
                CauseReason::Required,
                format!("{path}.name"),
                "a name is required",
            ));
        }
        refuse_fields(
            &variable["valueFrom"],
            &format!("{path}.valueFrom"),
            &["secretKeyRef", "resourceFieldRef"],
            causes,
        );
    }
    for (index, source) in elements(container, "envFrom").enumerate() {
        refuse_fields(
            source,
            &format!("{path}.envFrom[{index}]"),
            &["secretRef"],
            causes,
        );
    }
}
