//! The quality-of-service class that a real node would give a pod.

use serde_json::Value;

use crate::object;

/// Decides by the requests and limits of CPU and memory. What is limited but not requested counts as
/// requested.
pub(crate) fn class_of(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| spec[list].as_array().into_iter().flatten())
        .collect();
    let quantity = |container: &Value, kind: &str, resource: &str| {
        let quantity = &container["resources"][kind][resource];
        quantity.is_string().then(|| quantity.clone())
    };
    let is_guaranteed = |container: &&Value| {
        ["cpu", "memory"].into_iter().all(|resource| {
            let limit = quantity(container, "limits", resource);
            let request = quantity(container, "requests", resource).or(limit.clone());
            limit.is_some() && limit == request
        })
    };
    let asks = |container: &&Value| {
        ["requests", "limits"].into_iter().any(|kind| {
            let named = object::string_map(&container["resources"], &format!("/{kind}"));
            named
                .keys()
                .any(|name| matches!(name.as_str(), "cpu" | "memory"))
        })
    };
    if !containers.iter().any(asks) {
        "BestEffort"
    } else if containers.iter().all(is_guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
