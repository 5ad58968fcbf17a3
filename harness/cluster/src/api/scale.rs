//! The subresource `scale` of Deployments and ReplicaSets.

use serde_json::{Value, json};

use super::error::{ApiError, Cause, CauseReason};
use crate::object;
use crate::selector::Selector;
use crate::store::Resource;

const KIND: &str = "Scale";
const API_VERSION: &str = "autoscaling/v1";

/// The `Scale` of a workload.
pub(crate) fn of(workload: &Value) -> Value {
    let metadata = &workload["metadata"];
    let selector = serde_json::from_value(workload["spec"]["selector"].clone()).ok();
    let selector = selector.and_then(|selector| Selector::of_label_selector(&selector));
    json!({
        "kind": KIND,
        "apiVersion": API_VERSION,
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

/// An applied `Scale` as an apply to its workload.
pub(super) fn as_workload(
    resource: Resource,
    workload: &Value,
    scale: &Value,
) -> Result<Value, ApiError> {
    let given = (
        object::text(scale, "/apiVersion"),
        object::text(scale, "/kind"),
    );
    if given != (API_VERSION, KIND) {
        let message = format!("expected {API_VERSION} {KIND}, got {} {}", given.0, given.1);
        return Err(ApiError::BadRequest(message));
    }
    if scale["spec"]["replicas"].is_null() {
        let message = "an applied scale must have it";
        return Err(ApiError::Invalid {
            resource,
            name: object::name(workload).to_owned(),
            causes: vec![Cause::new(CauseReason::Required, "spec.replicas", message)],
        });
    }
    Ok(json!({
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]},
        "spec": {"replicas": scale["spec"]["replicas"]},
    }))
}

/// Gives a workload the number of replicas which a `Scale` asks for.
pub(crate) fn set(resource: Resource, workload: &mut Value, scale: &Value) -> Result<(), ApiError> {
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
