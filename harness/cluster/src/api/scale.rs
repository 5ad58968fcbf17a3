//! The subresource `scale`: the number of replicas of any kind that has one.

use serde_json::{Value, json};

use super::error::{ApiError, Cause, CauseReason};
use crate::custom::Scale;
use crate::object;
use crate::selector::Selector;
use crate::store::Resource;

const KIND: &str = "Scale";
const API_VERSION: &str = "autoscaling/v1";

/// The field of a workload which says how many replicas it shall have, as a JSON pointer.
fn replicas_of(resource: &Resource) -> &str {
    match custom_scale(resource) {
        Some(scale) => &scale.replicas,
        None => "/spec/replicas",
    }
}

fn replicas_in<'a>(resource: &Resource, workload: &'a mut Value) -> &'a mut Value {
    let path = replicas_of(resource).split('/').skip(1);
    path.fold(workload, |value, name| &mut object::map_of(value)[name])
}

fn custom_scale(resource: &Resource) -> Option<&Scale> {
    match resource {
        Resource::Custom(custom) => custom.version().scale.as_ref(),
        _ => None,
    }
}

/// The pods of a workload, as the text of a label selector.
fn selector_of(resource: &Resource, workload: &Value) -> String {
    if let Some(scale) = custom_scale(resource) {
        let selector = scale.selector.as_deref();
        return selector.map_or_else(String::new, |place| {
            object::text(workload, place).to_owned()
        });
    }
    let selector = serde_json::from_value(workload["spec"]["selector"].clone()).ok();
    let selector = selector.and_then(|selector| Selector::of_label_selector(&selector));
    selector.map_or_else(String::new, |selector| selector.to_string())
}

/// The `Scale` of a workload.
pub(crate) fn of(resource: &Resource, workload: &Value) -> Value {
    let metadata = &workload["metadata"];
    let present = custom_scale(resource).map_or("/status/replicas", |scale| &scale.status_replicas);
    let count = |place| workload.pointer(place).and_then(Value::as_i64);
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
        "spec": {"replicas": count(replicas_of(resource))},
        "status": {
            "replicas": count(present).unwrap_or_default(),
            "selector": selector_of(resource, workload),
        },
    })
}

/// An applied `Scale` as an apply to its workload.
pub(super) fn as_workload(
    resource: &Resource,
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
            resource: resource.clone(),
            name: object::name(workload).to_owned(),
            causes: vec![Cause::new(CauseReason::Required, "spec.replicas", message)],
        });
    }
    let mut applied = json!({
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]},
    });
    *replicas_in(resource, &mut applied) = scale["spec"]["replicas"].clone();
    Ok(applied)
}

/// Gives a workload the number of replicas which a `Scale` asks for.
pub(crate) fn set(
    resource: &Resource,
    workload: &mut Value,
    scale: &Value,
) -> Result<(), ApiError> {
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => Some(0),
        replicas => replicas
            .as_i64()
            .and_then(|replicas| i32::try_from(replicas).ok()),
    };
    match replicas.filter(|replicas| *replicas >= 0) {
        Some(replicas) => {
            *replicas_in(resource, workload) = replicas.into();
            Ok(())
        }
        None => {
            let message = format!(
                "{}: must be greater than or equal to 0",
                scale["spec"]["replicas"]
            );
            Err(ApiError::Invalid {
                resource: resource.clone(),
                name: object::name(workload).to_owned(),
                causes: vec![Cause::new(CauseReason::Invalid, "spec.replicas", message)],
            })
        }
    }
}
