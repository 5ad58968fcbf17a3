//! What has pods: a Deployment or a StatefulSet, as most faults look at it.

use holdfast_core::fault::Count;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::DynamicObject;
use rand::seq::IteratorRandom as _;

use crate::action::is_ready;
use crate::blueprint::Target;
use crate::error::FaultError;
use crate::object::{Cluster, Object, Resource};
use crate::pods;

/// A workload as it was found.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) object: Object,
    pub(super) found: DynamicObject,
    /// Its pods, as the API's parameter.
    pub(super) selector: String,
    /// Those that are not on their way out.
    pub(super) pods: Vec<Pod>,
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
        let labels: LabelSelector =
            serde_json::from_value(labels).map_err(FaultError::Malformed)?;
        let selector = pods::selector(&labels)?;
        Ok(Self {
            object: Object {
                resource,
                name: name.to_owned(),
                uid: found.uid().unwrap_or_default(),
            },
            pods: pods::all(cluster, &selector).await?,
            selector,
            found,
        })
    }

    /// Pods that are ready.
    pub(super) fn ready(&self) -> u32 {
        size(self.pods.iter().filter(|pod| is_ready(pod)).count())
    }

    /// Some of its ready pods, any of them.
    pub(super) fn choose(&self, count: Count) -> Vec<&Pod> {
        let ready = self.pods.iter().filter(|pod| is_ready(pod));
        let mut chosen = ready.choose_multiple(&mut rand::rng(), count.of(self.ready()) as usize);
        chosen.sort_by_key(|pod| pod.name_any());
        chosen
    }

    /// What the fault leaves when it takes so many ready pods.
    pub(super) fn target(self, taken: usize) -> Target {
        let ready = self.ready();
        Target {
            ready,
            left: ready.saturating_sub(size(taken)),
            object: self.object,
        }
    }
}

fn size(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
