//! `metrics.k8s.io`: what pods and the node use, as `kubectl top` and autoscalers ask for it. Nothing
//! of it is stored.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Call, document, read};
use crate::metrics::{Metrics, Usage};
use crate::store::{Resource, Store, StoreError, Stored};
use crate::{clock, object};

pub(super) fn is_measured(resource: &Resource) -> bool {
    matches!(resource, Resource::PodMetrics | Resource::NodeMetrics)
}

/// Answers a `get` or a `list`.
pub(super) fn answer(store: &Store, metrics: &Metrics, call: &Call) -> Result<Response, ApiError> {
    let target = &call.target;
    let filter = call.parameters.filter(target)?;
    let mut found = measured(
        store,
        metrics,
        &target.resource,
        target.namespace.as_deref(),
    );
    let Some(name) = target.name.as_deref() else {
        found.retain(|object| filter.matches(object));
        let list = read::rendered_list(target, &found, &json!({}), call.view, &call.parameters);
        return Ok(document(&list));
    };
    let named = found.iter().find(|object| object::name(object) == name);
    let object = named.ok_or_else(|| StoreError::NotFound {
        resource: target.resource.clone(),
        name: name.to_owned(),
    })?;
    let answer = read::rendered(target, object, call.view, &call.parameters);
    Ok(document(&answer))
}

/// What has been measured of each pod or node that is there.
fn measured(
    store: &Store,
    metrics: &Metrics,
    resource: &Resource,
    namespace: Option<&str>,
) -> Vec<Arc<Stored>> {
    let described = match resource {
        Resource::NodeMetrics => Resource::Nodes,
        _ => Resource::Pods,
    };
    let (objects, _) = store.list(described, namespace);
    let measured = objects.iter().filter_map(|object| match resource {
        Resource::NodeMetrics => node_metrics(object, metrics),
        _ => pod_metrics(object, metrics),
    });
    measured
        .map(|object| Arc::new(Stored::new(object)))
        .collect()
}

fn pod_metrics(pod: &Value, metrics: &Metrics) -> Option<Value> {
    let sample = metrics.pod(object::uid(pod))?;
    let containers: Vec<Value> = sample
        .containers
        .iter()
        .map(|(name, used)| json!({"name": name, "usage": usage(*used)}))
        .collect();
    let mut object = described(&Resource::PodMetrics, pod, sample.timestamp, sample.window);
    object["containers"] = containers.into();
    Some(object)
}

fn node_metrics(node: &Value, metrics: &Metrics) -> Option<Value> {
    let sample = metrics.machine()?;
    let mut object = described(
        &Resource::NodeMetrics,
        node,
        sample.timestamp,
        sample.window,
    );
    object["usage"] = usage(sample.usage);
    Some(object)
}

fn described(resource: &Resource, object: &Value, timestamp: Timestamp, window: Duration) -> Value {
    let mut metadata = json!({
        "name": object["metadata"]["name"],
        "creationTimestamp": clock::rfc3339(clock::now()),
    });
    for field in ["namespace", "labels"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    json!({
        "kind": resource.kind(),
        "apiVersion": resource.api_version(),
        "metadata": metadata,
        "timestamp": clock::rfc3339(timestamp),
        // As Go writes a duration of seconds.
        "window": format!("{}s", (window.as_secs_f64() * 1000.0).round() / 1000.0),
    })
}

fn usage(usage: Usage) -> Value {
    json!({
        "cpu": format!("{}n", usage.cpu_nanocores),
        "memory": format!("{}Ki", usage.memory_bytes / 1024),
    })
}
