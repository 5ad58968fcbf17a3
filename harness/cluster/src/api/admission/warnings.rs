//! What is accepted and has no effect here: told in a `Warning` header.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::custom::definition;
use crate::object;
use crate::store::Resource;

/// The warnings about an object as the client wrote it (before defaults).
pub(in crate::api) fn warnings(resource: &Resource, object: &Value) -> BTreeSet<String> {
    let mut warnings = BTreeSet::new();
    match resource {
        Resource::Pods => of_pod_spec(&object["spec"], "spec", &mut warnings),
        Resource::Deployments | Resource::ReplicaSets | Resource::Jobs => {
            let spec = &object["spec"]["template"]["spec"];
            of_pod_spec(spec, "spec.template.spec", &mut warnings);
        }
        Resource::Nodes => warn(&object["spec"], "spec", "taints", "ignored", &mut warnings),
        Resource::CustomResourceDefinitions => warnings = definition::warnings(object),
        Resource::Namespaces
        | Resource::Services
        | Resource::ConfigMaps
        | Resource::Events
        | Resource::EndpointSlices
        | Resource::HorizontalPodAutoscalers
        | Resource::PodDisruptionBudgets
        | Resource::Leases
        | Resource::PodMetrics
        | Resource::NodeMetrics
        | Resource::Custom(_) => {}
    }
    warnings
}

fn of_pod_spec(spec: &Value, path: &str, warnings: &mut BTreeSet<String>) {
    for field in [
        "dnsPolicy",
        "serviceAccountName",
        "tolerations",
        "topologySpreadConstraints",
        "priorityClassName",
        "subdomain",
        "setHostnameAsFQDN",
        "imagePullSecrets",
        "priority",
        "preemptionPolicy",
        "serviceAccount",
        // All but emptyDir are refused, and so is mounting one.
        "volumes",
    ] {
        warn(spec, path, field, "ignored", warnings);
    }
    warn(spec, path, "hostname", "set in $HOSTNAME only", warnings);
    for field in ["securityContext", "resources"] {
        warn(spec, path, field, "not enforced", warnings);
    }
    if spec["automountServiceAccountToken"] == true {
        warn(
            spec,
            path,
            "automountServiceAccountToken",
            "ignored",
            warnings,
        );
    }
    if spec["hostUsers"] == false {
        warn(spec, path, "hostUsers", "not enforced", warnings);
    }
    let scheduler = object::text(spec, "/schedulerName");
    if !matches!(scheduler, "" | "default-scheduler") {
        warnings.insert(format!(
            "{path}.schedulerName: the local cluster has no scheduler {scheduler}, and the pod will wait for it"
        ));
    }
    for list in ["initContainers", "containers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.{list}[{index}]");
            for field in ["imagePullPolicy", "workingDir"] {
                warn(container, &path, field, "ignored", warnings);
            }
            for (field, default) in [
                ("terminationMessagePath", "/dev/termination-log"),
                ("terminationMessagePolicy", "File"),
            ] {
                if container[field] != default {
                    warn(container, &path, field, "ignored", warnings);
                }
            }
            warn(
                container,
                &path,
                "securityContext",
                "not enforced",
                warnings,
            );
            let resources = format!("{path}.resources");
            warn(
                &container["resources"],
                &resources,
                "limits",
                "not enforced",
                warnings,
            );
        }
    }
}

fn warn(object: &Value, path: &str, field: &str, fate: &str, warnings: &mut BTreeSet<String>) {
    if object.get(field).is_some_and(is_something) {
        warnings.insert(format!("{path}.{field}: {fate} by the local cluster"));
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
