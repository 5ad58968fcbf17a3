//! `evict`: pods are asked to leave, as far as disruption budgets permit.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions, Status};
use kube::api::PostParams;
use kube::runtime::{conditions, wait::await_condition};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Cluster, FaultError};
use crate::object::Object;
use crate::pods;

/// How long a budget may refuse a pod's eviction before the fault is given up.
const PATIENCE: Duration = Duration::from_secs(40);
/// The server refuses for as long as the budget is used up and tells nobody when it is not: the
/// pause before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// The cause of a refusal that is a disruption budget's; a server that is too busy refuses with 429, too.
const BUDGET: &str = "DisruptionBudget";
/// Whoever may go has as long as its own grace, and its node's answer.
const PATIENCE_LEAVING: Duration = Duration::from_secs(150);

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
            ask(cluster, pod).await?;
            left(cluster, pod).await?;
        }
        Ok(format!("evicted {}", pods::names(&self.pods)))
    }
}

/// Asks until the pod may go, or for as long as a budget may refuse.
async fn ask(cluster: &Cluster, pod: &Object) -> Result<(), FaultError> {
    let began = Instant::now();
    loop {
        match evict(cluster, pod, None).await? {
            Answer::Goes | Answer::Gone => return Ok(()),
            Answer::Refused(why) if began.elapsed() >= PATIENCE => {
                return Err(FaultError::NotEvicted {
                    what: pod.to_string(),
                    why,
                });
            }
            Answer::Refused(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

/// What becomes of a pod that was to leave.
pub(super) enum Answer {
    /// It goes.
    Goes,
    /// It had gone; another one may have its name since.
    Gone,
    /// It stays, for a disruption budget has nothing to spare; the API server's words.
    Refused(String),
}

/// Asks once that this very pod leaves, with so many seconds of grace; `None`: the pod's own.
pub(super) async fn evict(
    cluster: &Cluster,
    pod: &Object,
    grace: Option<u32>,
) -> Result<Answer, FaultError> {
    let mut eviction = Eviction::default();
    eviction.metadata.name = Some(pod.name.clone());
    eviction.delete_options = Some(DeleteOptions {
        grace_period_seconds: grace.map(i64::from),
        preconditions: Some(Preconditions {
            uid: Some(pod.uid.clone()),
            resource_version: None,
        }),
        ..DeleteOptions::default()
    });
    let api = cluster.api::<Pod>();
    // The client's own `evict` writes its options under a name that the API does not know.
    let parameters = PostParams::default();
    let began = Instant::now();
    loop {
        let asked = api.create_subresource("eviction", &pod.name, &parameters, &eviction);
        match asked.await.map(|_: Status| ()) {
            Ok(()) => return Ok(Answer::Goes),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                return Ok(Answer::Gone);
            }
            Err(kube::Error::Api(status)) if status.code == 429 => {
                // The cause names the budget; the message is the same for all.
                let details = status.details.iter();
                let mut causes = details.flat_map(|details| &details.causes);
                if let Some(cause) = causes.find(|cause| cause.reason == BUDGET) {
                    return Ok(Answer::Refused(cause.message.clone()));
                }
                if began.elapsed() >= PATIENCE {
                    let error = kube::Error::Api(status);
                    return Err(FaultError::during(format!("evict {pod}"))(error));
                }
                // The server is busy, and no budget is concerned.
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(FaultError::during(format!("evict {pod}"))(error)),
        }
    }
}

/// Waits until it is gone: the next one's budget counts it.
async fn left(cluster: &Cluster, pod: &Object) -> Result<(), FaultError> {
    let gone = conditions::is_deleted(&pod.uid);
    let gone = await_condition(cluster.api::<Pod>(), &pod.name, gone);
    match tokio::time::timeout(PATIENCE_LEAVING, gone).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(FaultError::Watch {
            what: pod.to_string(),
            source: Box::new(error),
        }),
        Err(_elapsed) => Err(FaultError::NotSeen {
            what: format!("{pod} is gone after its eviction"),
            seconds: PATIENCE_LEAVING.as_secs(),
        }),
    }
}
