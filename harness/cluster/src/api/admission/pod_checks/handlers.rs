//! Checks of probes and lifecycle hooks: what they ask, and when.

use http::HeaderName;
use serde_json::Value;

use super::super::{Cause, CauseReason, check_port};
use super::{elements, refuse_fields};
use crate::object;

pub(super) const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const PROBE_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_HANDLERS: [&str; 3] = ["exec", "httpGet", "sleep"];
const LONGEST_PORT_NAME: usize = 15;

pub(super) fn check_probe(kind: &str, probe: &Value, path: &str, causes: &mut Vec<Cause>) {
    check_handler(probe, path, &PROBE_HANDLERS, causes);
    let mut invalid = |field: &str, message: &str| {
        let message = format!("{}: {message}", probe[field]);
        causes.push(Cause::new(
            CauseReason::Invalid,
            format!("{path}.{field}"),
            message,
        ));
    };
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if probe[field].as_i64().is_some_and(|value| value < 0) {
            invalid(field, "must be greater than or equal to 0");
        }
    }
    let successes = probe["successThreshold"].as_i64();
    let is_readiness = kind == "readinessProbe";
    if !is_readiness && successes.is_some_and(|threshold| threshold != 1) {
        invalid("successThreshold", "must be 1");
    }
    match probe["terminationGracePeriodSeconds"].as_i64() {
        Some(_) if is_readiness => invalid(
            "terminationGracePeriodSeconds",
            "must not be set for readinessProbes",
        ),
        Some(seconds) if seconds < 1 => {
            invalid("terminationGracePeriodSeconds", "must be greater than 0");
        }
        Some(_) | None => {}
    }
}

/// `grace_seconds` is the pod's grace period.
pub(super) fn check_lifecycle(
    lifecycle: &Value,
    path: &str,
    grace_seconds: i64,
    causes: &mut Vec<Cause>,
) {
    refuse_fields(lifecycle, path, &["stopSignal"], causes);
    for hook in ["postStart", "preStop"] {
        let Some(handler) = lifecycle.get(hook).filter(|handler| handler.is_object()) else {
            continue;
        };
        let path = format!("{path}.{hook}");
        check_handler(handler, &path, &HOOK_HANDLERS, causes);
        let seconds = handler["sleep"]["seconds"].as_i64();
        if seconds.is_some_and(|seconds| !(0..=grace_seconds).contains(&seconds)) {
            let message = format!(
                "{}: must be non-negative and less than or equal to terminationGracePeriodSeconds ({grace_seconds})",
                handler["sleep"]["seconds"]
            );
            causes.push(Cause::new(
                CauseReason::Invalid,
                format!("{path}.sleep"),
                message,
            ));
        }
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
    if handler["exec"].is_object() && elements(&handler["exec"], "command").next().is_none() {
        let field = format!("{path}.exec.command");
        causes.push(Cause::new(
            CauseReason::Required,
            field,
            "a command is required",
        ));
    }
    if handler["httpGet"].is_object() {
        check_http_get(&handler["httpGet"], &format!("{path}.httpGet"), causes);
    }
    if handler["tcpSocket"].is_object() {
        let field = format!("{path}.tcpSocket.port");
        check_port_or_name(&handler["tcpSocket"]["port"], &field, causes);
    }
    if handler["grpc"].is_object() {
        check_port(
            &handler["grpc"]["port"],
            &format!("{path}.grpc.port"),
            causes,
        );
    }
}

fn check_http_get(get: &Value, path: &str, causes: &mut Vec<Cause>) {
    check_port_or_name(&get["port"], &format!("{path}.port"), causes);
    let scheme = object::text(get, "/scheme");
    if !matches!(scheme, "" | "HTTP" | "HTTPS") {
        let message = format!("{scheme:?}: supported values: \"HTTP\", \"HTTPS\"");
        causes.push(Cause::new(
            CauseReason::Invalid,
            format!("{path}.scheme"),
            message,
        ));
    }
    for (index, header) in elements(get, "httpHeaders").enumerate() {
        let name = object::text(header, "/name");
        if HeaderName::try_from(name).is_err() {
            let message = format!("{name:?}: is not the name of an HTTP header");
            causes.push(Cause::new(
                CauseReason::Invalid,
                format!("{path}.httpHeaders[{index}].name"),
                message,
            ));
        }
    }
}

/// A port number, or the name of one.
fn check_port_or_name(port: &Value, field: &str, causes: &mut Vec<Cause>) {
    let Some(name) = port.as_str() else {
        return check_port(port, field, causes);
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let valid = name.len() <= LONGEST_PORT_NAME
        && name.chars().all(allowed)
        && name.chars().any(|c| c.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if !valid {
        let message = format!(
            "{name:?}: the name of a port has at most {LONGEST_PORT_NAME} lower case letters, digits and single hyphens, and at least one letter"
        );
        causes.push(Cause::new(CauseReason::Invalid, field, message));
    }
}
