//! Reads the conditions of the system's objects and the health of the cluster, for stop conditions.

use async_trait::async_trait;
use holdfast_core::condition::{ClusterHealth, Condition, ObjectKind};
use holdfast_engine::{ConditionReader, ConditionReaderError};
use http::{Request, StatusCode};
use kube::api::{DynamicObject, ListParams};
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;

use crate::error::{FaultError, one_line, said};
use crate::object::{Cluster, Resource};

/// Where an API server tells whether it is ready to serve, its store (etcd) included.
pub const READYZ: &str = "/readyz";

/// Reads objects of one namespace, and nodes.
#[derive(Debug)]
pub struct KubeConditions {
    cluster: Cluster,
}

impl KubeConditions {
    /// A reader of what `namespace` holds.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Self {
            cluster: Cluster { client, namespace },
        }
    }
}

#[async_trait]
impl ConditionReader for KubeConditions {
    async fn conditions(
        &self,
        kind: ObjectKind,
        name: &str,
    ) -> Result<Option<Vec<Condition>>, ConditionReaderError> {
        // Read anew each time: a watch that has fallen silent would tell of what was.
        let found = self.cluster.any(Resource::from(kind)).get_opt(name).await;
        found
            .map_err(cannot_read)?
            .as_ref()
            .map(shown_by)
            .transpose()
    }

    async fn cluster_health(&self) -> Result<ClusterHealth, ConditionReaderError> {
        let asked = Request::get(READYZ).body(Vec::new());
        let asked = asked.expect("a constant path without a body always makes a request");
        let readyz = match self.cluster.client.request_text(asked).await {
            Ok(answer) => answer,
            // Not ready: the answer is what it has checked.
            Err(kube::Error::Api(answer)) if answer.code == StatusCode::INTERNAL_SERVER_ERROR => {
                answer.message
            }
            Err(error) => return Err(cannot_read(error)),
        };
        let nodes = self.cluster.any(Resource::Node);
        let nodes = nodes.list(&ListParams::default()).await;
        let nodes = nodes.map_err(cannot_read)?.into_iter();
        let nodes = nodes.map(|node| Ok((node.name_any(), shown_by(&node)?)));
        Ok(ClusterHealth {
            readyz,
            nodes: nodes.collect::<Result<_, _>>()?,
        })
    }
}

/// The conditions in an object's status; none where there is no status yet.
fn shown_by(object: &DynamicObject) -> Result<Vec<Condition>, ConditionReaderError> {
    let shown = object.data.pointer("/status/conditions");
    let shown = shown.map(Option::deserialize).transpose();
    let shown = shown.map_err(FaultError::Malformed);
    shown
        .map(|shown| shown.flatten().unwrap_or_default())
        .map_err(|error| ConditionReaderError(one_line(&error)))
}

fn cannot_read(error: kube::Error) -> ConditionReaderError {
    ConditionReaderError(one_line(said(error).as_ref()))
}
