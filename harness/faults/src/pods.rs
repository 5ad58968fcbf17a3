//! Pods of a workload, and the choice among them.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use kube::core::Selector;

use crate::error::FaultError;
use crate::object::{Cluster, Object, Resource};

/// Pods that are not on their way out, by name.
pub(crate) async fn running(cluster: &Cluster, selector: &str) -> Result<Vec<Object>, FaultError> {
    Ok(all(cluster, selector).await?.iter().map(object).collect())
}

/// The same as the API has them.
pub(crate) async fn all(cluster: &Cluster, selector: &str) -> Result<Vec<Pod>, FaultError> {
    let labelled = ListParams::default().labels(selector);
    let found = cluster.api::<Pod>().list(&labelled).await;
    let mut pods = found
        .map_err(FaultError::during(format!("list pods with {selector}")))?
        .items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.sort_by_key(ResourceExt::name_any);
    Ok(pods)
}

/// The pods that a Service selects; none if it selects none.
pub(crate) async fn behind(
    cluster: &Cluster,
    service: &DynamicObject,
) -> Result<Vec<Pod>, FaultError> {
    let labels = service.data["spec"]["selector"].as_object();
    let labels: Vec<_> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    if labels.is_empty() {
        return Ok(Vec::new());
    }
    all(cluster, &labels.join(",")).await
}

/// So many of them.
pub(crate) fn size(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(crate) fn object(pod: &Pod) -> Object {
    Object {
        resource: Resource::Pod,
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
    }
}

/// A workload's selector as the API's parameter.
pub(crate) fn selector(labels: &LabelSelector) -> Result<String, FaultError> {
    let selector = Selector::try_from(labels.clone());
    let selector = selector.map_err(|error| FaultError::Selector(error.to_string()))?;
    Ok(selector.to_string())
}

/// "pods a, b and c".
pub(crate) fn names(pods: &[Object]) -> String {
    let names: Vec<_> = pods.iter().map(|pod| pod.name.as_str()).collect();
    let word = if names.len() == 1 { "pod" } else { "pods" };
    format!("{word} {}", names.join(", "))
}
