//! `kill`: pods are deleted. Nothing is put back: their controller replaces them.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use serde::{Deserialize, Serialize};

use super::{Attempt, Cluster, FaultError};
use crate::object::Object;
use crate::pods;

/// Pods of one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kill {
    /// Those that were chosen.
    pub(crate) pods: Vec<Object>,
    /// So many were ready when they were chosen.
    pub(crate) ready: u32,
    /// Finds others in place of those that are gone by themselves when it comes to it.
    pub(crate) selector: String,
    /// Seconds; `None` is the pods' own.
    pub(crate) grace: Option<u32>,
    /// Done again and again while the fault is held, at this pace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) every: Option<Duration>,
}

impl Kill {
    fn names(&self) -> String {
        pods::names(&self.pods)
    }

    pub(super) fn describe(&self) -> String {
        match self.grace {
            None => format!("delete {}", self.names()),
            Some(seconds) => format!("delete {} with {seconds} s of grace", self.names()),
        }
    }

    /// Deletes the pods that were chosen and are left, and at the first attempt others in place of
    /// those that are gone: at a second one these may be the ones that the first has deleted.
    pub(crate) async fn inject(
        &self,
        cluster: &Cluster,
        attempt: Attempt,
    ) -> Result<String, FaultError> {
        let running = pods::running(cluster, &self.selector).await?;
        let (mut chosen, others): (Vec<_>, Vec<_>) = running
            .into_iter()
            .partition(|pod| self.pods.iter().any(|planned| planned.uid == pod.uid));
        if attempt == Attempt::First {
            let missing = self.pods.len().saturating_sub(chosen.len());
            chosen.extend(others.into_iter().take(missing));
        }
        let mut killed = Vec::new();
        for pod in chosen {
            if self.delete(cluster, &pod).await? {
                killed.push(pod);
            }
        }
        match (killed.is_empty(), attempt) {
            (false, _) => Ok(format!("deleted {}", pods::names(&killed))),
            (true, Attempt::First) => Err(FaultError::NothingToKill(self.selector.clone())),
            (true, Attempt::Again) => Ok(format!(
                "of {} none is left: an earlier attempt deleted them, or they went by themselves",
                self.names()
            )),
        }
    }

    /// Whether this very pod was there to be deleted.
    async fn delete(&self, cluster: &Cluster, pod: &Object) -> Result<bool, FaultError> {
        let mut parameters = DeleteParams::default().preconditions(Preconditions {
            uid: Some(pod.uid.clone()),
            resource_version: None,
        });
        parameters.grace_period_seconds = self.grace;
        match cluster.api::<Pod>().delete(&pod.name, &parameters).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                Ok(false)
            }
            Err(error) => Err(FaultError::during(format!("delete {pod}"))(error)),
        }
    }
}
