//! `evict`: pods are asked to leave, as far as disruption budgets permit.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;
use kube::runtime::{conditions, wait::await_condition};
use serde::{Deserialize, Serialize};

use super::{Cluster, FaultError};
use crate::object::Object;
use crate::pods;

/// How long a budget may refuse a pod's eviction before the fault is given up.
const PATIENCE: Duration = Duration::from_secs(40);
/// The server refuses for as long as the budget is used up and tells nobody when it is not: the
/// pause before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Pods of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Evict {
    pub(crate) pods: Vec<Object>,
}

impl Evict {
    pub(super) fn describe(&self) -> String {
        format!("evict {}", pods::names(&self.pods))
    }

    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<String, FaultError> {
        for pod in &self.pods {
            let leaving = tokio::time::timeout(PATIENCE, leave(cluster, pod)).await;
            leaving.map_err(|_elapsed| FaultError::BudgetRefuses(pod.to_string()))??;
        }
        Ok(format!("evicted {}", pods::names(&self.pods)))
    }
}

/// Evicts one pod and waits until it is gone: the next one's budget counts it.
async fn leave(cluster: &Cluster, pod: &Object) -> Result<(), FaultError> {
    let api = cluster.api::<Pod>();
    loop {
        match api.evict(&pod.name, &EvictParams::default()).await {
            Ok(_) => break,
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 429 => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(FaultError::during(format!("evict {pod}"))(error)),
        }
    }
    await_condition(api, &pod.name, conditions::is_deleted(&pod.uid))
        .await
        .map_err(|error| FaultError::Watch {
            what: pod.to_string(),
            source: Box::new(error),
        })?;
    Ok(())
}
