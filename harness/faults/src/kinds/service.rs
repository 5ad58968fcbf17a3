//! A Service, as faults look at it.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DynamicObject;

use super::owners::Owners;
use crate::blueprint::{Target, Workloads};
use crate::error::FaultError;
use crate::object::{Cluster, Object, Resource};
use crate::pods;

/// A Service as it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) object: Object,
    pub(super) found: DynamicObject,
    /// Those behind it that are not on their way out.
    pods: Vec<Pod>,
    /// What makes them.
    workloads: Workloads,
}

impl Found {
    /// A Service that selects pods: the endpoints of another one are not ours to move.
    pub(super) async fn service(cluster: &Cluster, name: &str) -> Result<Self, FaultError> {
        let found = cluster.get(Resource::Service, name).await?;
        let selector = &found.data["spec"]["selector"];
        if selector.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(FaultError::Parameter {
                what: format!("service {name}"),
                why: "cut off, for it has no selector".to_owned(),
            });
        }
        let pods = pods::behind(cluster, &found).await?;
        let workloads = Owners::find(cluster).await?.workloads(&pods);
        Ok(Self {
            object: Object {
                resource: Resource::Service,
                name: name.to_owned(),
                uid: found.uid().unwrap_or_default(),
            },
            pods,
            workloads,
            found,
        })
    }

    /// What the fault leaves when callers find none of its endpoints, or get nothing from them.
    pub(super) fn none(&self) -> Target {
        self.leaving(0)
    }

    /// What it leaves when it leaves all of them, slower or less reliable.
    pub(super) fn whole(&self) -> Target {
        self.leaving(u32::MAX)
    }

    fn leaving(&self, left: u32) -> Target {
        let what = self.object.to_string();
        Target::of(what, self.workloads.clone(), &self.pods, left)
    }
}
