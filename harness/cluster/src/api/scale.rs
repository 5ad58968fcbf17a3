//! The subresource `scale` of Deployments and ReplicaSets.

use serde_json::{Value, json};

use super::error::{ApiError, Cause, CauseReason};
use crate::object;
use crate::selector::Selector;
use crate::store::Resource;

/// The `Scale` of a workload.
pub(super) fn of(workload: &Value) -> Value {
    let metadata = &workload["metadata"];
    let selector = serde_json::from_value(workload["spec"]["selector"].clone()).ok();
    let selector = selector.and_then(|selector| Selector::of_label_selector(&selector));
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": workload["spec"]["replicas"]},
        "status": {
            "replicas": workload.pointer("/status/replicas").and_then(Value::as_i64).unwrap_or_default(),
            "selector": selector.map(|selector| selector.to_string()).unwrap_or_default(),
        },
    })
}

/// Gives a workload the number of replicas which a `Scale` asks for.
pub(super) fn set(resource: Resource, workload: &mut Value, scale: &Value) -> Result<(), ApiError> {
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => Some(0),
        replicas => replicas
            .as_i64()
            .and_then(|replicas| i32::try_from(replicas).ok()),
    };
    match replicas.filter(|replicas| *replicas >= 0) {
        Some(replicas) => {
            workload["spec"]["replicas"] = replicas.into();
            Ok(())
        }
        None => {
            let message = format!(
                "{}: must be greater than or equal to 0",
                scale["spec"]["replicas"]
            );
            Err(ApiError::Invalid {
                resource,
                name: object::name(workload).to_owned(),
                causes: vec![Cause::new(CauseReason::Invalid, "spec.replicas", message)],
            })
        }
    }
}
