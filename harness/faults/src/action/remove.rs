//! `remove`: an object is deleted, and made again afterwards as it was.

use kube::api::{DeleteParams, DynamicObject, PostParams, Preconditions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cluster, FaultError};
use crate::object::{Object, from_json, to_json};

/// One object, and what it is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub(crate) object: Object,
    pub(crate) manifest: Value,
}

impl Remove {
    /// The removal of an object that was found; what the server adds by itself is left out of what
    /// is made again.
    pub(crate) fn plan(object: Object, found: &DynamicObject) -> Self {
        let mut found = found.clone();
        found.metadata = kube::api::ObjectMeta {
            name: found.metadata.name,
            labels: found.metadata.labels,
            annotations: found.metadata.annotations,
            owner_references: found.metadata.owner_references,
            ..kube::api::ObjectMeta::default()
        };
        let mut manifest = to_json(&found);
        if let Some(fields) = manifest.as_object_mut() {
            fields.remove("status");
        }
        Self { object, manifest }
    }

    pub(super) fn describe(&self) -> String {
        format!("delete {}", self.object)
    }

    pub(super) fn describe_undo(&self) -> String {
        format!("create {} as it was", self.object)
    }

    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<String, FaultError> {
        let parameters = DeleteParams::background().preconditions(Preconditions {
            uid: Some(self.object.uid.clone()),
            resource_version: None,
        });
        let api = cluster.any(self.object.resource);
        match api.delete(&self.object.name, &parameters).await {
            Ok(_) => Ok(format!("{} deleted", self.object)),
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                Ok(format!("{} is not there", self.object))
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                Err(FaultError::Replaced(self.object.to_string()))
            }
            Err(error) => Err(FaultError::during(format!("delete {}", self.object))(error)),
        }
    }

    pub(super) async fn revert(&self, cluster: &Cluster) -> Result<String, FaultError> {
        let object = from_json(self.manifest.clone())?;
        let api = cluster.any(self.object.resource);
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => Ok(format!("{} made again", self.object)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Ok(format!("{} is there", self.object))
            }
            Err(error) => Err(FaultError::during(format!("create {}", self.object))(error)),
        }
    }

    pub(super) async fn difference(&self, cluster: &Cluster) -> Result<Option<String>, FaultError> {
        let found = cluster
            .find(self.object.resource, &self.object.name)
            .await?;
        let gone = found.is_none_or(|found| found.metadata.deletion_timestamp.is_some());
        Ok(gone.then(|| {
            format!(
                "{} is gone; it was {}",
                self.object,
                serde_json::to_string(&self.manifest).expect("a manifest is plain data")
            )
        }))
    }
}
