//! Reads the conditions of the system's objects, for stop conditions.

use async_trait::async_trait;
use holdfast_core::condition::{Condition, ObjectKind};
use holdfast_engine::{ConditionReader, ConditionReaderError};
use kube::Client;
use serde::Deserialize as _;

use crate::error::{FaultError, one_line, said};
use crate::object::{Cluster, Resource};

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
        let found = found.map_err(|error| ConditionReaderError(one_line(said(error).as_ref())))?;
        let Some(object) = found else {
            return Ok(None);
        };
        let shown = object.data.pointer("/status/conditions");
        let shown = shown.map(Option::deserialize).transpose();
        let shown = shown.map_err(FaultError::Malformed);
        shown
            .map(|shown| Some(shown.flatten().unwrap_or_default()))
            .map_err(|error| ConditionReaderError(one_line(&error)))
    }
}
