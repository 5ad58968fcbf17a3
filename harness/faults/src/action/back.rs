//! `back`: nothing is done. Once all is undone it is looked whether as many pods are ready as before.
//! That they are not keeps nothing from being undone, and is told.

use std::time::Duration;

use futures::future::join_all;
use holdfast_core::evidence;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Cluster, FaultError, is_ready};
use crate::error::one_line;
use crate::object::Object;
use crate::pods;

/// Pods that start anew, one after the other, may take long.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pause before the pods are looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Pods of one workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Back {
    pub(crate) workload: Object,
    /// Its pods, as the API's parameter.
    pub(crate) selector: String,
    /// So many were ready before.
    pub(crate) ready: u32,
}

impl Back {
    pub(super) fn describe(&self) -> String {
        let ready = ready_pods(self.ready);
        format!(
            "look, once all is undone, whether {} has {ready}",
            self.workload
        )
    }

    async fn seen(&self, cluster: &Cluster) -> String {
        match tokio::time::timeout(PATIENCE, self.are_there(cluster)).await {
            Ok(Ok(words)) => words,
            Ok(Err(error)) => one_line(&error),
            Err(_elapsed) => {
                let ready = ready_pods(self.ready);
                format!("{} has fewer than {ready}", self.workload)
            }
        }
    }

    /// Waits until as many are ready as before, or as the workload is to have by now.
    async fn are_there(&self, cluster: &Cluster) -> Result<String, FaultError> {
        let Object {
            resource,
            name,
            uid,
        } = &self.workload;
        loop {
            let found = cluster.find(*resource, name).await?;
            let Some(found) = found.filter(|found| found.uid().as_ref() == Some(uid)) else {
                return Ok(format!("{} is gone or was replaced", self.workload));
            };
            let wanted = self.ready.min(replicas(&found));
            let pods = pods::all(cluster, &self.selector).await?;
            let ready = pods::size(pods.iter().filter(|pod| is_ready(pod)).count());
            if ready >= wanted {
                return Ok(format!("{} has {}", self.workload, ready_pods(ready)));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn ready_pods(number: u32) -> String {
    let word = if number == 1 { "pod" } else { "pods" };
    format!("{number} ready {word}")
}

/// How many pods a workload is to have.
fn replicas(workload: &DynamicObject) -> u32 {
    let replicas = workload.data["spec"]["replicas"].as_u64();
    replicas.map_or(1, |replicas| u32::try_from(replicas).unwrap_or(u32::MAX))
}

/// The proof that all is undone, with what became of the pods afterwards.
pub(super) async fn look<'a>(
    proof: String,
    all: impl Iterator<Item = &'a Back>,
    cluster: &Cluster,
) -> String {
    let began = Instant::now();
    let seen = join_all(all.map(|back| back.seen(cluster))).await;
    if seen.is_empty() {
        return proof;
    }
    evidence::afterwards(&proof, began.elapsed(), &seen.join(", "))
}
