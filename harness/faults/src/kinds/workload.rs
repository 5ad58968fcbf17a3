//! What has pods: a Deployment or a StatefulSet, as most faults look at it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::error::FaultError;
use crate::object::{Cluster, Object, Resource};
use crate::pods;

/// A workload as it was found.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) object: Object,
    pub(super) found: DynamicObject,
    /// Pods that are ready.
    pub(super) ready: u32,
    /// Its pods, as the API's parameter.
    pub(super) selector: String,
}

impl Workload {
    pub(super) async fn deployment(cluster: &Cluster, name: &str) -> Result<Self, FaultError> {
        Self::find(cluster, Resource::Deployment, name).await
    }

    pub(super) async fn find(
        cluster: &Cluster,
        resource: Resource,
        name: &str,
    ) -> Result<Self, FaultError> {
        let found = cluster.get(resource, name).await?;
        let labels = found.data["spec"]["selector"].clone();
        let labels: LabelSelector = serde_json::from_value(labels).map_err(FaultError::Malformed)?;
        Ok(Self {
            object: Object {
                resource,
                name: name.to_owned(),
                uid: found.uid().unwrap_or_default(),
            },
            ready: number(&found.data["status"]["readyReplicas"]),
            selector: pods::selector(&labels)?,
            found,
        })
    }
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}
