//! From a request body to an object: formats, types, unknown fields.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::error::ApiError;
use crate::custom::CustomResource;
use crate::store::{Resource, api_version as api_version_of};

/// An object as its type describes it, and the fields which the type does not know.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) object: Value,
    /// Paths such as `spec.replcas`.
    pub(super) unknown_fields: Vec<String>,
}

/// Checks that an object has the types of its kind in this version and drops the rest.
pub(super) fn decode(
    resource: &Resource,
    version: &str,
    object: Value,
) -> Result<Decoded, ApiError> {
    check_kind(resource, version, &object)?;
    let decoded = match resource {
        Resource::Namespaces => through::<Namespace>(object),
        Resource::Nodes => through::<Node>(object),
        Resource::Pods => through::<Pod>(object),
        Resource::Services => through::<Service>(object),
        Resource::ConfigMaps => through::<ConfigMap>(object),
        Resource::Events => through::<Event>(object),
        Resource::EndpointSlices => through::<EndpointSlice>(object),
        Resource::Deployments => through::<Deployment>(object),
        Resource::ReplicaSets => through::<ReplicaSet>(object),
        Resource::Jobs => through::<Job>(object),
        Resource::HorizontalPodAutoscalers if version == "v1" => {
            through::<autoscaling::v1::HorizontalPodAutoscaler>(object)
        }
        Resource::HorizontalPodAutoscalers => {
            through::<autoscaling::v2::HorizontalPodAutoscaler>(object)
        }
        Resource::PodDisruptionBudgets => through::<PodDisruptionBudget>(object),
        Resource::Leases => through::<Lease>(object),
        // Nobody can write them.
        Resource::PodMetrics | Resource::NodeMetrics => with_typed_metadata(object),
        Resource::CustomResourceDefinitions => custom_resource_definition(object),
        Resource::Custom(custom) => custom_object(custom, object),
    };
    decoded.map_err(|error| {
        let kind = resource.kind();
        ApiError::BadRequest(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {error}"
        ))
    })
}

fn check_kind(resource: &Resource, version: &str, object: &Value) -> Result<(), ApiError> {
    let kind = crate::object::text(object, "/kind");
    let api_version = crate::object::text(object, "/apiVersion");
    let expected = (api_version_of(resource.group(), version), resource.kind());
    let absent_or = |given: &str, expected: &str| given.is_empty() || given == expected;
    if absent_or(api_version, &expected.0) && absent_or(kind, expected.1) {
        return Ok(());
    }
    Err(ApiError::BadRequest(format!(
        "the object provided is unrecognized: expected {} {}, got {api_version} {kind}",
        expected.0, expected.1
    )))
}

fn through<T: DeserializeOwned + Serialize>(
    mut object: Value,
) -> Result<Decoded, serde_json::Error> {
    quantities_to_text(&mut object);
    let mut unknown_fields = Vec::new();
    let typed: T = serde_ignored::deserialize(object, |path| {
        unknown_fields.push(field_path(&path.to_string()));
    })?;
    Ok(Decoded {
        object: serde_json::to_value(typed)?,
        unknown_fields,
    })
}

fn custom_resource_definition(object: Value) -> Result<Decoded, serde_json::Error> {
    let mut decoded = through::<CustomResourceDefinition>(object)?;
    whole_numbers(&mut decoded.object["spec"]);
    Ok(decoded)
}

/// The type of definitions knows bounds as fractions only; what was written
/// as `1` is shown as `1`, or it would seem changed.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Array(elements) => elements.iter_mut().for_each(whole_numbers),
        Value::Number(number) => {
            let text = number.to_string();
            if let Some(whole) = text
                .strip_suffix(".0")
                .and_then(|text| text.parse::<i64>().ok())
            {
                *value = whole.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// A custom object: its metadata are typed, the rest is as its schema says.
fn custom_object(custom: &CustomResource, mut object: Value) -> Result<Decoded, serde_json::Error> {
    let dropped = custom.version().schema.prune(&mut object);
    let mut decoded = with_typed_metadata(object)?;
    decoded.unknown_fields.extend(dropped);
    Ok(decoded)
}

/// An object of which the metadata are typed and the rest is not.
fn with_typed_metadata(mut object: Value) -> Result<Decoded, serde_json::Error> {
    let metadata = through::<ObjectMeta>(object["metadata"].take())?;
    object["metadata"] = metadata.object;
    let unknown = metadata.unknown_fields.into_iter();
    Ok(Decoded {
        object,
        unknown_fields: unknown.map(|field| format!("metadata.{field}")).collect(),
    })
}

/// Quantities may be written as numbers (`cpu: 1`); the types know only text.
fn quantities_to_text(object: &mut Value) {
    match object {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(quantities) if matches!(name.as_str(), "limits" | "requests") => {
                        quantities
                            .values_mut()
                            .filter(|value| value.is_number())
                            .for_each(number_to_text);
                    }
                    Value::Number(_) if name == "sizeLimit" => number_to_text(value),
                    Value::Object(target) if name == "target" => {
                        for quantity in ["value", "averageValue"] {
                            target
                                .get_mut(quantity)
                                .filter(|value| value.is_number())
                                .into_iter()
                                .for_each(number_to_text);
                        }
                    }
                    value => quantities_to_text(value),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(quantities_to_text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn number_to_text(value: &mut Value) {
    *value = Value::String(value.to_string());
}

/// A path of `serde_ignored` in Kubernetes' notation: options are not shown,
/// list positions stand in brackets.
fn field_path(path: &str) -> String {
    let mut text = String::new();
    for part in path.split('.').filter(|part| *part != "?") {
        if part.parse::<usize>().is_ok() {
            text.push_str(&format!("[{part}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_reported_by_path() {
        let object = json!({"spec": {
            "replcas": 2,
            "selector": {},
            "template": {"spec": {"containers": [{"name": "c", "imag": "x", "resources": {"limits": {"cpu": 1}}}]}},
        }});
        let decoded = decode(&Resource::Deployments, "v1", object).unwrap();
        assert_eq!(
            decoded.unknown_fields,
            ["spec.replcas", "spec.template.spec.containers[0].imag"]
        );
        let container = &decoded.object["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["resources"]["limits"]["cpu"], "1");
        assert!(container.get("imag").is_none());
    }

    #[test]
    fn another_kind_or_type_is_refused() {
        assert!(decode(&Resource::Pods, "v1", json!({"kind": "Service"})).is_err());
        assert!(
            decode(
                &Resource::Deployments,
                "v1",
                json!({"spec": {"replicas": "two"}})
            )
            .is_err()
        );
    }
}
