//! What happens to an object between decoding and storing: defaults, checks,
//! refusal of what this cluster cannot do, warnings about what it ignores.
//!
//! Everything here is a function over values.

mod autoscaler;
mod defaults;
mod disruption_budget;
mod job;
mod pod_checks;
mod warnings;

use serde_json::{Value, json};

use super::error::{ApiError, Cause, CauseReason};
use crate::custom::definition;
use crate::object;
use crate::quality_of_service;
use crate::store::{Resource, Subresource, random_uid};
pub(super) use defaults::set_defaults;
pub(super) use warnings::warnings;

pub(super) const NOT_SUPPORTED: &str = "not supported by the local cluster";

const MAX_NAME_LENGTH: usize = 253;
const MAX_LABEL_LENGTH: usize = 63;

/// Prepares a new object: resets what clients do not set.
pub(super) fn prepare_new(resource: &Resource, new: &mut Value) {
    let initial_status = match resource {
        Resource::Pods => {
            let class = quality_of_service::class_of(&new["spec"]);
            Some(json!({"phase": "Pending", "qosClass": class}))
        }
        Resource::Namespaces => Some(json!({"phase": "Active"})),
        Resource::Services => Some(json!({"loadBalancer": {}})),
        Resource::Deployments => Some(json!({})),
        Resource::ReplicaSets => Some(json!({"replicas": 0})),
        Resource::Jobs => Some(json!({})),
        Resource::HorizontalPodAutoscalers => Some(json!({"desiredReplicas": 0})),
        Resource::CustomResourceDefinitions => Some(definition::initial_status(new)),
        Resource::PodDisruptionBudgets => Some(json!({
            "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
        })),
        Resource::Nodes
        | Resource::ConfigMaps
        | Resource::Events
        | Resource::EndpointSlices
        | Resource::Leases
        | Resource::PodMetrics
        | Resource::NodeMetrics
        | Resource::Custom(_) => None,
    };
    if let Some(status) = initial_status {
        new["status"] = status;
    }
    if let (Resource::Custom(_), Some(fields)) = (resource, new.as_object_mut()) {
        // Without a path of its own, the status is a field like any other.
        if resource.has(Subresource::Status) {
            fields.remove("status");
        }
    }
    if let Some(metadata) = new["metadata"].as_object_mut() {
        metadata.remove("uid");
    }
    if *resource == Resource::Jobs {
        object::map_at(new, "metadata")["uid"] = random_uid().into();
        job::generate_selector(new);
    }
    if *resource == Resource::Namespaces {
        let name = object::name(new).to_owned();
        let labels = object::map_at(object::map_at(new, "metadata"), "labels");
        labels["kubernetes.io/metadata.name"] = name.into();
        new["spec"]["finalizers"] = json!(["kubernetes"]);
    }
}

/// Checks a new object, or with `old` a change. All problems are reported.
pub(super) fn check(resource: &Resource, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    check_name(resource, new, &mut causes);
    match resource {
        Resource::Pods => {
            pod_checks::check_pod_spec(&new["spec"], "spec", &mut causes);
            check_restart_policy(&new["spec"], &mut causes);
            if let Some(old) = old {
                check_pod_change(new, old, &mut causes);
            }
        }
        Resource::Deployments => check_deployment(new, old, &mut causes),
        Resource::ReplicaSets => check_workload(new, old, &mut causes),
        Resource::Jobs => job::check(new, old, &mut causes),
        Resource::HorizontalPodAutoscalers => autoscaler::check(&new["spec"], &mut causes),
        Resource::PodDisruptionBudgets => disruption_budget::check(&new["spec"], &mut causes),
        Resource::Services => check_service(new, old, &mut causes),
        Resource::CustomResourceDefinitions => causes.extend(definition::check(new, old)),
        Resource::Custom(custom) => causes.extend(custom.version().schema.validate(new, "")),
        Resource::Namespaces
        | Resource::Nodes
        | Resource::ConfigMaps
        | Resource::Events
        | Resource::EndpointSlices
        | Resource::Leases
        | Resource::PodMetrics
        | Resource::NodeMetrics => {}
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::Invalid {
        resource: resource.clone(),
        name: object::name(new).to_owned(),
        causes,
    })
}

fn check_name(resource: &Resource, new: &Value, causes: &mut Vec<Cause>) {
    let name = object::name(new);
    let generated = object::text(new, "/metadata/generateName");
    if name.is_empty() && generated.is_empty() {
        causes.push(Cause::new(
            CauseReason::Required,
            "metadata.name",
            "name or generateName is required",
        ));
    }
    let label_only = matches!(resource, Resource::Services | Resource::Namespaces);
    let longest = if label_only {
        MAX_LABEL_LENGTH
    } else {
        MAX_NAME_LENGTH
    };
    let allowed = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (c == '.' && !label_only)
    };
    let at_ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = name.len() <= longest
        && name.chars().all(allowed)
        && name.starts_with(at_ends)
        && name.ends_with(at_ends)
        && !(*resource == Resource::Services && name.starts_with(|c: char| c.is_ascii_digit()));
    if !name.is_empty() && !valid && *resource != Resource::Events {
        let message = format!(
            "{name:?}: a name consists of at most {longest} lower case letters, digits and '-'{}, and begins and ends with a letter or digit",
            if label_only { "" } else { " or '.'" },
        );
        causes.push(Cause::new(CauseReason::Invalid, "metadata.name", message));
    }
}

fn check_workload(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    if spec["replicas"]
        .as_i64()
        .is_some_and(|replicas| replicas < 0)
    {
        let message = "must be greater than or equal to 0";
        causes.push(Cause::new(CauseReason::Invalid, "spec.replicas", message));
    }
    check_selector(spec, causes);
    if let Some(old) = old.filter(|old| old["spec"]["selector"] != spec["selector"]) {
        let message = format!("field is immutable (was {})", old["spec"]["selector"]);
        causes.push(Cause::new(CauseReason::Invalid, "spec.selector", message));
    }
    let template = &spec["template"]["spec"];
    pod_checks::check_pod_spec(template, "spec.template.spec", causes);
    if !template["activeDeadlineSeconds"].is_null() {
        causes.push(Cause::new(
            CauseReason::Forbidden,
            "spec.template.spec.activeDeadlineSeconds",
            "pods that are replaced have no deadline",
        ));
    }
    if object::text(template, "/restartPolicy") != "Always" {
        let message = "unsupported value: supported values: \"Always\"";
        causes.push(Cause::new(
            CauseReason::Invalid,
            "spec.template.spec.restartPolicy",
            message,
        ));
    }
}

fn check_selector(spec: &Value, causes: &mut Vec<Cause>) {
    let selector = serde_json::from_value(spec["selector"].clone()).ok();
    let Some(selector) =
        selector.and_then(|selector| crate::selector::Selector::of_label_selector(&selector))
    else {
        causes.push(Cause::new(
            CauseReason::Required,
            "spec.selector",
            "a label selector is required",
        ));
        return;
    };
    if selector.is_empty() {
        let message = "empty selector is invalid";
        causes.push(Cause::new(CauseReason::Invalid, "spec.selector", message));
    } else if !selector.matches(&object::labels(&spec["template"])) {
        let message = format!("`selector` ({selector}) does not match template `labels`");
        causes.push(Cause::new(
            CauseReason::Invalid,
            "spec.template.metadata.labels",
            message,
        ));
    }
}

fn check_deployment(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    check_workload(new, old, causes);
    let spec = &new["spec"];
    let whole = |field: &str| spec[field].as_i64().unwrap_or_default();
    if whole("progressDeadlineSeconds") <= whole("minReadySeconds") {
        let message = "must be greater than minReadySeconds";
        causes.push(Cause::new(
            CauseReason::Invalid,
            "spec.progressDeadlineSeconds",
            message,
        ));
    }
    match object::text(spec, "/strategy/type") {
        "Recreate" => {
            if spec["strategy"]
                .get("rollingUpdate")
                .is_some_and(|rolling| !rolling.is_null())
            {
                let message = "may not be specified when strategy `type` is 'Recreate'";
                causes.push(Cause::new(
                    CauseReason::Forbidden,
                    "spec.strategy.rollingUpdate",
                    message,
                ));
            }
        }
        "RollingUpdate" => check_rolling_update(&spec["strategy"]["rollingUpdate"], causes),
        other => {
            let message = format!("{other:?}: supported values: \"Recreate\", \"RollingUpdate\"");
            causes.push(Cause::new(
                CauseReason::Invalid,
                "spec.strategy.type",
                message,
            ));
        }
    }
}

fn check_rolling_update(rolling: &Value, causes: &mut Vec<Cause>) {
    for field in ["maxSurge", "maxUnavailable"] {
        let valid = match &rolling[field] {
            Value::Number(number) => number.as_u64().is_some(),
            Value::String(text) => text
                .strip_suffix('%')
                .is_some_and(|digits| digits.parse::<u32>().is_ok()),
            _ => false,
        };
        if !valid {
            let message = format!(
                "{}: must be a whole number or a percentage such as 25%",
                rolling[field]
            );
            let path = format!("spec.strategy.rollingUpdate.{field}");
            causes.push(Cause::new(CauseReason::Invalid, path, message));
        }
    }
    let is_zero = |value: &Value| value.as_u64() == Some(0) || matches!(value.as_str(), Some("0%"));
    if is_zero(&rolling["maxSurge"]) && is_zero(&rolling["maxUnavailable"]) {
        let message = "may not be 0 when `maxSurge` is 0";
        let field = "spec.strategy.rollingUpdate.maxUnavailable";
        causes.push(Cause::new(CauseReason::Invalid, field, message));
    }
}

fn check_restart_policy(spec: &Value, causes: &mut Vec<Cause>) {
    let policy = object::text(spec, "/restartPolicy");
    if !matches!(policy, "Always" | "OnFailure" | "Never") {
        let message = format!("{policy:?}: supported values: \"Always\", \"OnFailure\", \"Never\"");
        causes.push(Cause::new(
            CauseReason::Invalid,
            "spec.restartPolicy",
            message,
        ));
    }
}

/// Of a pod's spec only tolerations may change; the node is set once. A real cluster would also
/// start a container again when its image changes.
fn check_pod_change(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let frozen = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        if spec["initContainers"].is_null() {
            spec["initContainers"] = json!([]);
        }
        spec["tolerations"] = Value::Null;
        if object::text(old, "/spec/nodeName").is_empty() {
            spec["nodeName"] = Value::Null;
        }
        spec
    };
    if frozen(new) != frozen(old) {
        let message = format!(
            "changing a pod other than in `spec.tolerations` is {NOT_SUPPORTED}: change the template of its Deployment, or create a pod in its place"
        );
        causes.push(Cause::new(CauseReason::Forbidden, "spec", message));
    }
}

fn check_service(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    let kind = object::text(spec, "/type");
    if kind != "ClusterIP" {
        causes.push(Cause::new(
            CauseReason::Forbidden,
            "spec.type",
            format!("{kind}: {NOT_SUPPORTED}"),
        ));
    }
    for field in ["externalIPs", "loadBalancerIP", "externalName"] {
        if spec.get(field).is_some_and(|value| !value.is_null()) {
            causes.push(Cause::new(
                CauseReason::Forbidden,
                format!("spec.{field}"),
                NOT_SUPPORTED,
            ));
        }
    }
    let affinity = object::text(spec, "/sessionAffinity");
    if affinity != "None" {
        causes.push(Cause::new(
            CauseReason::Forbidden,
            "spec.sessionAffinity",
            format!("{affinity}: {NOT_SUPPORTED}"),
        ));
    }
    if object::strings(spec, "/ipFamilies").any(|family| family != "IPv4") {
        let message = format!("IPv6: {NOT_SUPPORTED}");
        causes.push(Cause::new(
            CauseReason::Forbidden,
            "spec.ipFamilies",
            message,
        ));
    }
    let headless = object::text(spec, "/clusterIP") == "None";
    let ports = spec["ports"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if ports.is_empty() && !headless {
        causes.push(Cause::new(
            CauseReason::Required,
            "spec.ports",
            "a port is required",
        ));
    }
    for (index, port) in ports.iter().enumerate() {
        check_service_port(port, &format!("spec.ports[{index}]"), ports, index, causes);
    }
    let address = |service: &Value| object::text(service, "/spec/clusterIP").to_owned();
    if let Some(old) = old.filter(|old| address(old) != address(new)) {
        let message = format!(
            "{:?}: field is immutable (was {:?})",
            address(new),
            address(old)
        );
        causes.push(Cause::new(CauseReason::Invalid, "spec.clusterIP", message));
    }
}

fn check_service_port(
    port: &Value,
    path: &str,
    all: &[Value],
    index: usize,
    causes: &mut Vec<Cause>,
) {
    let protocol = object::text(port, "/protocol");
    if protocol != "TCP" {
        let message = format!("{protocol}: {NOT_SUPPORTED}");
        causes.push(Cause::new(
            CauseReason::Forbidden,
            format!("{path}.protocol"),
            message,
        ));
    }
    if port
        .get("nodePort")
        .is_some_and(|port| !port.is_null() && port != 0)
    {
        causes.push(Cause::new(
            CauseReason::Forbidden,
            format!("{path}.nodePort"),
            NOT_SUPPORTED,
        ));
    }
    check_port(&port["port"], &format!("{path}.port"), causes);
    if port["targetPort"].is_number() {
        check_port(&port["targetPort"], &format!("{path}.targetPort"), causes);
    }
    let name = object::text(port, "/name");
    if name.is_empty() && all.len() > 1 {
        causes.push(Cause::new(
            CauseReason::Required,
            format!("{path}.name"),
            "needed with more than one port",
        ));
    }
    let earlier = all.iter().take(index);
    if earlier
        .into_iter()
        .any(|other| object::text(other, "/name") == name || other["port"] == port["port"])
    {
        causes.push(Cause::new(
            CauseReason::Duplicate,
            path,
            format!("{name:?} {}", port["port"]),
        ));
    }
}

/// A port number from 1 to 65535.
fn check_port(port: &Value, field: &str, causes: &mut Vec<Cause>) {
    let valid = port
        .as_u64()
        .is_some_and(|port| port != 0 && u16::try_from(port).is_ok());
    if !valid {
        let message = format!("{port}: must be between 1 and 65535, inclusive");
        causes.push(Cause::new(CauseReason::Invalid, field, message));
    }
}

#[cfg(test)]
mod tests;
