//! `create`: an object is made, and deleted afterwards.
//!
//! It is owned by the fault's own object, so that one whose request arrives after the fault has been
//! undone is collected with it. What somebody else has made under its name is left alone.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, PostParams, Preconditions};
use kube::runtime::{conditions, wait::await_condition};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cluster, FaultError, Owner, has_ended, is_ready};
use crate::object::{Resource, from_json, to_json};

/// The label that says for which run an object was made.
pub const RUN_LABEL: &str = "holdfast.dev/run";

/// What was deleted is gone soon: an agent has three seconds to undo what it did.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the API server says where one of its webhooks cannot be asked without side effects.
const NO_DRY_RUN: &str = "does not support dry run";

/// One object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Create {
    pub(crate) resource: Resource,
    pub(crate) name: String,
    pub(crate) manifest: Value,
}

impl Create {
    pub(super) fn describe(&self) -> String {
        format!("create {} {}", self.resource.word(), self.name)
    }

    pub(super) fn describe_undo(&self) -> String {
        format!("delete {} {}", self.resource.word(), self.name)
    }

    pub(super) async fn inject(
        &self,
        cluster: &Cluster,
        owner: &Owner,
    ) -> Result<String, FaultError> {
        let mut object = self.object()?;
        object.metadata.owner_references = Some(vec![owner.reference.clone()]);
        object
            .labels_mut()
            .insert(RUN_LABEL.to_owned(), owner.run.to_lowercase());
        let api = cluster.any(self.resource);
        let created = api.create(&PostParams::default(), &object).await;
        let word = self.resource.word();
        match created {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = cluster.get(self.resource, &self.name).await?;
                if !is_owned_by(&found, &owner.reference.uid) {
                    return Err(FaultError::Taken {
                        what: format!("{word} {}", self.name),
                    });
                }
            }
            Err(error) => {
                return Err(FaultError::during(format!("create {word} {}", self.name))(
                    error,
                ));
            }
        }
        Ok(format!("{word} {} created", self.name))
    }

    /// Lets the cluster say whether it would take the object; nothing is stored.
    pub(super) async fn try_out(&self, cluster: &Cluster) -> Result<(), FaultError> {
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let tried = cluster
            .any(self.resource)
            .create(&dry_run, &self.object()?)
            .await;
        let (word, name) = (self.resource.word(), &self.name);
        match tried {
            Ok(_) => Ok(()),
            // One of its webhooks has side effects: what it would say is heard when it is asked in earnest.
            Err(kube::Error::Api(status)) if status.message.contains(NO_DRY_RUN) => Ok(()),
            Err(error) => {
                let action = format!("create {word} {name}, tried as a dry run");
                Err(FaultError::during(action)(error))
            }
        }
    }

    fn object(&self) -> Result<DynamicObject, FaultError> {
        let mut object = from_json(self.manifest.clone())?;
        object.metadata.name = Some(self.name.clone());
        Ok(object)
    }

    /// Why it is no longer there, or no longer does what it was made for.
    pub(super) async fn lost(
        &self,
        cluster: &Cluster,
        owner: &Owner,
    ) -> Result<Option<String>, FaultError> {
        let what = format!("{} {}", self.resource.word(), self.name);
        // One that the fault owns was made by it: another one of this name is not.
        let Some(found) = self.find(cluster, owner).await? else {
            return Ok(Some(format!("{what} is gone")));
        };
        if self.resource != Resource::Pod {
            return Ok(None);
        }
        let pod: Pod = serde_json::from_value(to_json(&found)).map_err(FaultError::Malformed)?;
        Ok(if has_ended(&pod) {
            Some(format!("{what} has ended"))
        } else if is_ready(&pod) {
            None
        } else {
            Some(format!("{what} is no longer ready"))
        })
    }

    pub(super) async fn revert(
        &self,
        cluster: &Cluster,
        owner: &Owner,
    ) -> Result<String, FaultError> {
        let word = self.resource.word();
        let Some(found) = self.find(cluster, owner).await? else {
            return Ok(format!("{word} {} is not there", self.name));
        };
        let uid = found.uid().unwrap_or_default();
        let api = cluster.any(self.resource);
        let parameters = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        });
        match api.delete(&self.name, &parameters).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => {
                return Err(FaultError::during(format!("delete {word} {}", self.name))(
                    error,
                ));
            }
        }
        let gone = await_condition(api, &self.name, conditions::is_deleted(&uid));
        match tokio::time::timeout(PATIENCE, gone).await {
            Ok(Ok(_)) => Ok(format!("{word} {} deleted", self.name)),
            Ok(Err(error)) => Err(FaultError::Watch {
                what: format!("{word} {}", self.name),
                source: Box::new(error),
            }),
            Err(_elapsed) => Err(FaultError::NotSeen {
                what: format!("{word} {} is gone after it was deleted", self.name),
                seconds: PATIENCE.as_secs(),
            }),
        }
    }

    pub(super) async fn difference(
        &self,
        cluster: &Cluster,
        owner: &Owner,
    ) -> Result<Option<String>, FaultError> {
        let found = self.find(cluster, owner).await?;
        let word = self.resource.word();
        Ok(found.map(|_| {
            format!(
                "{word} {} is still there; delete it: kubectl -n {} delete {word} {}",
                self.name, cluster.namespace, self.name
            )
        }))
    }

    /// The object of this name, if this fault made it.
    async fn find(
        &self,
        cluster: &Cluster,
        owner: &Owner,
    ) -> Result<Option<DynamicObject>, FaultError> {
        let found = cluster.find(self.resource, &self.name).await?;
        Ok(found.filter(|found| is_owned_by(found, &owner.reference.uid)))
    }
}

fn is_owned_by(object: &DynamicObject, uid: &str) -> bool {
    object
        .owner_references()
        .iter()
        .any(|owner| owner.uid == uid)
}
