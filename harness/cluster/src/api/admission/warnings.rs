//! What is accepted and has no effect here: told in a `Warning` header.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::store::Resource;

/// The warnings about an object as the client wrote it (before defaults).
pub(in crate::api) fn warnings(resource: Resource, object: &Value) -> BTreeSet<String> {
    let (spec, path) = match resource {
        Resource::Pods => (&object["spec"], "spec"),
        Resource::Deployments | Resource::ReplicaSets => {
            (&object["spec"]["template"]["spec"], "spec.template.spec")
        }
        Resource::Namespaces
        | Resource::Nodes
        | Resource::Services
        | Resource::ConfigMaps
        | Resource::Events
        | Resource::EndpointSlices
        | Resource::Leases => return BTreeSet::new(),
    };
    let mut warnings = BTreeSet::new();
    let mut warn = |object: &Value, path: &str, field: &str, fate: &str| {
        if object.get(field).is_some_and(is_something) {
            warnings.insert(format!("{path}.{field}: {fate} by the local cluster"));
        }
    };
    for field in [
        "dnsPolicy",
        "serviceAccountName",
        "tolerations",
        "topologySpreadConstraints",
        "priorityClassName",
        "hostname",
        "subdomain",
        // All but emptyDir are refused, and so is mounting one.
        "volumes",
    ] {
        warn(spec, path, field, "ignored");
    }
    warn(spec, path, "securityContext", "not enforced");
    for list in ["initContainers", "containers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.{list}[{index}]");
            for field in ["imagePullPolicy", "workingDir"] {
                warn(container, &path, field, "ignored");
            }
            warn(container, &path, "securityContext", "not enforced");
            warn(
                &container["resources"],
                &format!("{path}.resources"),
                "limits",
                "not enforced",
            );
        }
    }
    warnings
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
