//! Checks of pod specs, in pods and in templates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Cause, CauseReason, NOT_SUPPORTED, check_port};
use crate::object;

/// Fields which would change what a pod does, and cannot be honoured.
const UNSUPPORTED_POD_FIELDS: [&str; 15] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "affinity",
    "nodeSelector",
    "ephemeralContainers",
    "resourceClaims",
    "schedulingGates",
    "runtimeClassName",
    "hostAliases",
    "dnsConfig",
    "readinessGates",
    "overhead",
    "activeDeadlineSeconds",
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
const PROBE_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_HANDLERS: [&str; 3] = ["exec", "httpGet", "sleep"];

pub(super) fn check_pod_spec(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    refuse_fields(spec, path, &UNSUPPORTED_POD_FIELDS, causes);
    refuse_fields(
        &spec["securityContext"],
        &format!("{path}.securityContext"),
        &UNSUPPORTED_SECURITY_FIELDS,
        causes,
    );
    check_volumes(spec, path, causes);
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
        }
    }
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
    for name in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if let Some(probe) = container.get(name).filter(|probe| probe.is_object()) {
            check_probe(
                probe,
                &format!("{path}.{name}"),
                name != "readinessProbe",
                causes,
            );
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = container["lifecycle"]
            .get(hook)
            .filter(|handler| handler.is_object())
        {
            check_handler(
                handler,
                &format!("{path}.lifecycle.{hook}"),
                &HOOK_HANDLERS,
                causes,
            );
        }
    }
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

fn check_probe(probe: &Value, path: &str, success_must_be_one: bool, causes: &mut Vec<Cause>) {
    check_handler(probe, path, &PROBE_HANDLERS, causes);
    refuse_fields(probe, path, &["grpc"], causes);
    for field in [
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if probe[field].as_i64().is_some_and(|value| value < 1) {
            let message = format!("{}: must be greater than 0", probe[field]);
            causes.push(Cause::new(
                CauseReason::Invalid,
                format!("{path}.{field}"),
                message,
            ));
        }
    }
    if success_must_be_one
        && probe["successThreshold"]
            .as_i64()
            .is_some_and(|threshold| threshold != 1)
    {
        let message = format!("{}: must be 1", probe["successThreshold"]);
        causes.push(Cause::new(
            CauseReason::Invalid,
            format!("{path}.successThreshold"),
            message,
        ));
    }
}

fn check_handler(handler: &Value, path: &str, known: &[&str], causes: &mut Vec<Cause>) {
    match known
        .iter()
        .filter(|kind| handler.get(**kind).is_some_and(|value| !value.is_null()))
        .count()
    {
        0 => {
            let message = format!("must specify one of {}", known.join(", "));
            causes.push(Cause::new(CauseReason::Required, path, message));
        }
        1 => {}
        _ => causes.push(Cause::new(
            CauseReason::Forbidden,
            path,
            "may not specify more than 1 handler type",
        )),
    }
    let scheme = object::text(handler, "/httpGet/scheme");
    if !matches!(scheme, "" | "HTTP") {
        causes.push(Cause::new(
            CauseReason::Forbidden,
            format!("{path}.httpGet.scheme"),
            format!("{scheme}: {NOT_SUPPORTED}"),
        ));
    }
}
