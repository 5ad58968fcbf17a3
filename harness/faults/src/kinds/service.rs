//! A Service, as faults look at it.

use kube::ResourceExt;
use kube::api::DynamicObject;

use crate::action::is_ready;
use crate::blueprint::Target;
use crate::error::FaultError;
use crate::object::{Cluster, Object, Resource};
use crate::pods;

/// A Service as it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) object: Object,
    pub(super) found: DynamicObject,
    /// Pods behind it that are ready.
    ready: u32,
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
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        Ok(Self {
            object: Object {
                resource: Resource::Service,
                name: name.to_owned(),
                uid: found.uid().unwrap_or_default(),
            },
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            found,
        })
    }

    /// What the fault leaves of its endpoints.
    pub(super) fn target(&self, left: u32) -> Target {
        Target {
            object: self.object.clone(),
            ready: self.ready,
            left: left.min(self.ready),
        }
    }

    /// What it leaves when it leaves all of them, slower or less reliable.
    pub(super) fn whole(&self) -> Target {
        self.target(self.ready)
    }
}
