//! `kill`: pods are evicted, or deleted. Nothing is put back: their controller replaces them.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use serde::{Deserialize, Serialize};

use super::evict::{Answer, evict};
use super::{Attempt, Cluster, FaultError};
use crate::object::Object;
use crate::pods;

/// Pods of one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kill {
    /// Those that were chosen.
    pub(crate) pods: Vec<Object>,
    /// Finds others in place of those that are gone by themselves when it comes to it.
    pub(crate) selector: String,
    /// How they are made to go.
    #[serde(default)]
    pub(crate) means: Means,
    /// Seconds; `None` is the pods' own.
    pub(crate) grace: Option<u32>,
    /// Done again and again while the fault is held, at this pace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) every: Option<Duration>,
}

/// How pods are made to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Means {
    /// Whatever their disruption budgets say: what a record means that names none.
    #[default]
    Deletion,
    /// As far as these permit: the API server asks them.
    Eviction,
}

impl Means {
    /// To do it, and to have done it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Deletion => ("delete", "deleted"),
            Self::Eviction => ("evict", "evicted"),
        }
    }
}

impl Kill {
    fn names(&self) -> String {
        pods::names(&self.pods)
    }

    pub(super) fn describe(&self) -> String {
        let (to_do, _) = self.means.words();
        match self.grace {
            None => format!("{to_do} {}", self.names()),
            Some(seconds) => format!("{to_do} {} with {seconds} s of grace", self.names()),
        }
    }

    /// Takes the pods that were chosen and are left, and at the first attempt others in place of those
    /// that are gone: at a second one these may be the ones that the first has taken. One that a
    /// disruption budget protects ends a kill that is done once; of one that is done again and again it
    /// is spared, as long as another one goes.
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
        let (mut killed, mut spared) = (Vec::new(), Vec::new());
        let mut refusal = None;
        for pod in chosen {
            match self.take(cluster, &pod).await? {
                Answer::Goes => killed.push(pod),
                Answer::Gone => {}
                Answer::Refused(why) => {
                    spared.push(pod);
                    refusal = Some(why);
                    if self.every.is_none() {
                        break;
                    }
                }
            }
        }
        let (_, done) = self.means.words();
        let proof = format!("{done} {}", pods::names(&killed));
        match (killed.is_empty(), refusal, attempt) {
            (false, None, _) => Ok(proof),
            (false, Some(why), _) if self.every.is_some() => {
                let (spared, all) = (spared.len(), spared.len() + killed.len());
                Ok(format!(
                    "{proof}; a disruption budget spared {spared} of {all}: {why}"
                ))
            }
            (_, Some(why), _) => Err(FaultError::NotEvicted {
                what: pods::names(&spared),
                why,
            }),
            (true, None, Attempt::First) => Err(FaultError::NothingToKill(self.selector.clone())),
            (true, None, Attempt::Again) => Ok(format!(
                "of {} none is left: an earlier attempt {done} them, or they went by themselves",
                self.names()
            )),
        }
    }

    /// Makes this very pod go.
    async fn take(&self, cluster: &Cluster, pod: &Object) -> Result<Answer, FaultError> {
        match self.means {
            Means::Eviction => evict(cluster, pod, self.grace).await,
            Means::Deletion => self.delete(cluster, pod).await,
        }
    }

    async fn delete(&self, cluster: &Cluster, pod: &Object) -> Result<Answer, FaultError> {
        let mut parameters = DeleteParams::default().preconditions(Preconditions {
            uid: Some(pod.uid.clone()),
            resource_version: None,
        });
        parameters.grace_period_seconds = self.grace;
        match cluster.api::<Pod>().delete(&pod.name, &parameters).await {
            Ok(_) => Ok(Answer::Goes),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                Ok(Answer::Gone)
            }
            Err(error) => Err(FaultError::during(format!("delete {pod}"))(error)),
        }
    }
}
