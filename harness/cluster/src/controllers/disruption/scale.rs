//! How many pods the controllers of some pods shall have.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::controllers::ownership::controller_of;
use crate::store::{Resource, Store};

/// A pod whose controller has no scale.
#[derive(Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[error("found no controllers for pod {pod:?}")]
pub(super) struct NoScale {
    pub(super) pod: String,
}

/// The sum over the controllers; the Deployment's, not the one of its ReplicaSet
/// of the moment. Pods without a controller do not count.
pub(super) fn expected_scale(store: &Store, pods: &[Arc<Pod>]) -> Result<i32, NoScale> {
    let mut scales: BTreeMap<String, i32> = BTreeMap::new();
    for pod in pods {
        if let Some(owner) = controller_of(&pod.metadata) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let (uid, replicas) = scale_of(store, namespace, owner).ok_or_else(|| NoScale {
                pod: pod.metadata.name.clone().unwrap_or_default(),
            })?;
            scales.insert(uid, replicas);
        }
    }
    Ok(scales.values().sum())
}

/// The uid and the size of what finally controls a pod.
fn scale_of(store: &Store, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
    let is = |resource: Resource, owner: &OwnerReference| {
        owner.kind == resource.kind() && owner.api_version == resource.api_version()
    };
    let is_meant =
        |metadata: &ObjectMeta, owner: &OwnerReference| metadata.uid.as_ref() == Some(&owner.uid);
    if !is(Resource::ReplicaSets, owner) {
        return None;
    }
    let set = store.get(Resource::ReplicaSets, namespace, &owner.name)?;
    let set: Arc<ReplicaSet> = set.typed()?;
    if !is_meant(&set.metadata, owner) {
        return None;
    }
    let of_deployment =
        controller_of(&set.metadata).filter(|owner| is(Resource::Deployments, owner));
    let Some(owner) = of_deployment else {
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
        return Some((set.metadata.uid.clone()?, replicas.unwrap_or(1)));
    };
    let deployment = store.get(Resource::Deployments, namespace, &owner.name)?;
    let deployment: Arc<Deployment> = deployment.typed()?;
    if !is_meant(&deployment.metadata, owner) {
        return None;
    }
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    Some((deployment.metadata.uid.clone()?, replicas.unwrap_or(1)))
}
