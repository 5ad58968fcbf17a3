//! `wait`: nothing is done until something can be seen in the cluster. What is seen is evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::LogParams;
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde::{Deserialize, Serialize};

use super::{Cluster, FaultError};
use crate::object::Resource;
use crate::pods;

/// What a fault brings about shows soon, or not at all.
const PATIENCE: Duration = Duration::from_secs(45);
/// Pods that start anew, one after the other, may take longer.
const PATIENCE_REVERTING: Duration = Duration::from_secs(150);

/// One condition, and when it is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wait {
    pub(crate) until: Condition,
    /// Before the fault is called undone, in place of before it is called injected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) reverting: bool,
}

/// What can be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Condition {
    /// A pod is ready.
    PodReady(String),
    /// A Service has no endpoint.
    NoEndpoint(String),
    /// A Service has an endpoint that is ready.
    Endpoint(String),
    /// Of these pods of a Deployment none is on its way out, and as many with the same labels are
    /// ready as before, or as the Deployment is to have by now. One that was never deleted may stay.
    Replaced {
        deployment: String,
        selector: String,
        /// By UID.
        pods: Vec<String>,
        ready: u32,
    },
    /// Of the pods with these labels so many are ready, no more and no fewer, and none is on its way
    /// out.
    Ready { selector: String, pods: u32 },
    /// No pod with these labels is left, but for those that have ended.
    NoPods(String),
    /// No pod with these labels is on its way out.
    NoneLeaving(String),
    /// A Deployment's pods are all of its newest template, and available.
    RolledOut(String),
    /// A Deployment's controller has begun to replace its pods.
    RollingOut(String),
}

impl Wait {
    pub(crate) fn for_evidence(until: Condition) -> Self {
        Self {
            until,
            reverting: false,
        }
    }

    pub(crate) fn before_the_end(until: Condition) -> Self {
        Self {
            until,
            reverting: true,
        }
    }

    pub(super) fn describe(&self) -> String {
        format!("wait until {}", self.until.words())
    }

    pub(super) async fn inject(&self, cluster: &Cluster) -> Result<Option<String>, FaultError> {
        if self.reverting {
            return Ok(None);
        }
        self.seen(cluster).await.map(Some)
    }

    pub(super) async fn revert(&self, cluster: &Cluster) -> Result<Option<String>, FaultError> {
        if let Condition::PodReady(name) = &self.until {
            return Ok(said_in_the_end(cluster, name).await);
        }
        if !self.reverting {
            return Ok(None);
        }
        if let Some(words) = self.until.needless(cluster).await? {
            return Ok(Some(words));
        }
        self.seen(cluster).await.map(Some)
    }

    async fn seen(&self, cluster: &Cluster) -> Result<String, FaultError> {
        let patience = if self.reverting {
            PATIENCE_REVERTING
        } else {
            PATIENCE
        };
        let seen = tokio::time::timeout(patience, self.until.seen(cluster)).await;
        seen.map_err(|_elapsed| FaultError::NotSeen {
            what: self.until.words(),
            seconds: patience.as_secs(),
        })?
    }
}

impl Condition {
    fn words(&self) -> String {
        match self {
            Self::PodReady(pod) => format!("pod {pod} is ready"),
            Self::NoEndpoint(service) => format!("service {service} has no endpoint"),
            Self::Endpoint(service) => format!("service {service} has a ready endpoint"),
            Self::Replaced {
                selector, ready, ..
            } => whole(*ready, selector),
            Self::Ready { selector, pods } => whole(*pods, selector),
            Self::NoPods(selector) => format!("no pod with {selector} is left"),
            Self::NoneLeaving(selector) => {
                format!("no pod with {selector} is on its way out")
            }
            Self::RolledOut(name) => format!("deployment {name} is rolled out"),
            Self::RollingOut(name) => format!("deployment {name} is being rolled out"),
        }
    }

    async fn seen(&self, cluster: &Cluster) -> Result<String, FaultError> {
        match self {
            Self::PodReady(name) => return pod_ready(cluster, name).await,
            Self::NoEndpoint(service) => endpoints(cluster, service, |ready| ready == 0).await?,
            Self::Endpoint(service) => endpoints(cluster, service, |ready| ready > 0).await?,
            Self::Replaced {
                deployment,
                selector,
                pods,
                ready,
            } => return replaced(cluster, deployment, selector, pods, *ready).await,
            Self::Ready { selector, pods } => {
                until_pods(cluster, selector, |found| {
                    ready(found) == *pods && !found.values().any(is_leaving)
                })
                .await?;
            }
            Self::NoPods(selector) => no_pods(cluster, selector, |pod| !has_ended(pod)).await?,
            Self::NoneLeaving(selector) => no_pods(cluster, selector, is_leaving).await?,
            Self::RolledOut(name) => {
                watched(cluster.api(), name, self, is_rolled_out).await?;
            }
            Self::RollingOut(name) => {
                watched(cluster.api(), name, self, is_rolling_out).await?;
            }
        }
        Ok(self.words())
    }

    /// Why nothing is waited for before the end, if that is so: what would show it is gone.
    async fn needless(&self, cluster: &Cluster) -> Result<Option<String>, FaultError> {
        match self {
            Self::Replaced { deployment, .. } | Self::RolledOut(deployment) => {
                let found = cluster.find(Resource::Deployment, deployment).await?;
                Ok(found.is_none().then(|| is_gone(deployment)))
            }
            Self::Endpoint(service) => {
                let Some(found) = cluster.find(Resource::Service, service).await? else {
                    return Ok(Some(format!("service {service} is gone")));
                };
                let behind = pods::behind(cluster, &found).await?;
                let words = || format!("no pod behind service {service} is ready");
                Ok((!behind.iter().any(is_ready)).then(words))
            }
            Self::PodReady(_)
            | Self::NoEndpoint(_)
            | Self::Ready { .. }
            | Self::NoPods(_)
            | Self::NoneLeaving(_)
            | Self::RollingOut(_) => Ok(None),
        }
    }
}

fn whole(ready: u32, selector: &str) -> String {
    let ready = match ready {
        1 => format!("1 pod with {selector} is ready"),
        ready => format!("{ready} pods with {selector} are ready"),
    };
    format!("{ready} and none is on its way out")
}

fn is_gone(deployment: &str) -> String {
    format!("deployment {deployment} is gone")
}

/// Waits until a pod is ready, and says what it says of itself; one that ends before has a reason.
async fn pod_ready(cluster: &Cluster, name: &str) -> Result<String, FaultError> {
    let condition = Condition::PodReady(name.to_owned());
    let wanted = |pod: &Pod| is_ready(pod) || has_ended(pod);
    watched(cluster.api(), name, &condition, wanted).await?;
    let pods = cluster.api::<Pod>();
    let said = said(&pods, name).await;
    let said = said.unwrap_or_else(|| "nothing".to_owned());
    let found = pods.get_opt(name).await;
    match found.map_err(FaultError::during(format!("read pod {name}")))? {
        Some(pod) if is_ready(&pod) => Ok(format!("pod {name} is ready: {said}")),
        _ => Err(FaultError::AgentEnded {
            pod: name.to_owned(),
            said,
        }),
    }
}

/// What a pod that did harm says of it before it is deleted, if it can still be heard.
async fn said_in_the_end(cluster: &Cluster, name: &str) -> Option<String> {
    let said = said(&cluster.api(), name).await?;
    Some(format!("pod {name} said: {said}"))
}

/// The last line of a pod's log.
async fn said(pods: &Api<Pod>, name: &str) -> Option<String> {
    let log = pods.logs(name, &LogParams::default()).await.ok()?;
    log.lines().last().map(str::to_owned)
}

/// Waits until the object of this name is as wanted.
async fn watched<K>(
    api: Api<K>,
    name: &str,
    condition: &Condition,
    wanted: impl Fn(&K) -> bool,
) -> Result<(), FaultError>
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
    K::DynamicType: Default,
{
    let is_wanted = |found: Option<&K>| found.is_some_and(&wanted);
    let waited = await_condition(api, name, is_wanted).await;
    waited.map(drop).map_err(|error| FaultError::Watch {
        what: condition.words(),
        source: Box::new(error),
    })
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    !is_leaving(pod)
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether all of its containers have ended for good.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

fn ready(pods: &BTreeMap<String, Pod>) -> u32 {
    pods::size(pods.values().filter(|pod| is_ready(pod)).count())
}

/// How many pods it is to have.
fn replicas(deployment: &Deployment) -> i32 {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = replicas(deployment);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= wanted
            && status.replicas.unwrap_or(0) <= wanted
            && status.available_replicas.unwrap_or(0) >= wanted
    })
}

fn is_rolling_out(deployment: &Deployment) -> bool {
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) > 0
    })
}

/// Waits until the number of ready endpoints of a Service is as wanted.
async fn endpoints(
    cluster: &Cluster,
    service: &str,
    wanted: impl Fn(usize) -> bool,
) -> Result<(), FaultError> {
    let config =
        watcher::Config::default().labels(&format!("kubernetes.io/service-name={service}"));
    until(cluster.api::<EndpointSlice>(), config, |slices| {
        let listed = slices.values().flat_map(|slice| &slice.endpoints);
        let ready = listed.filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|all| all.ready).unwrap_or(true)
        });
        wanted(ready.count())
    })
    .await
}

/// Waits until a Deployment whose pods were deleted has them again, as many as it is to have now.
async fn replaced(
    cluster: &Cluster,
    deployment: &str,
    selector: &str,
    deleted: &[String],
    ready: u32,
) -> Result<String, FaultError> {
    let deployments = cluster.api::<Deployment>();
    loop {
        let found = deployments.get_opt(deployment).await;
        let action = || format!("read deployment {deployment}");
        let Some(found) = found.map_err(FaultError::during(action()))? else {
            return Ok(is_gone(deployment));
        };
        let now = replicas(&found);
        let wanted = u32::try_from(now).unwrap_or(0).min(ready);
        let pods = until_pods(cluster, selector, |pods| {
            let leaving = pods
                .values()
                .any(|pod| is_leaving(pod) && pod.uid().is_some_and(|uid| deleted.contains(&uid)));
            !leaving && self::ready(pods) >= wanted
        });
        let is_other = |found: Option<&Deployment>| found.map(replicas) != Some(now);
        let other = await_condition(deployments.clone(), deployment, is_other);
        tokio::select! {
            // In this order, so that what is asked of the API is not left to chance.
            biased;
            changed = other => {
                changed.map_err(|error| FaultError::Watch {
                    what: format!("deployment {deployment}"),
                    source: Box::new(error),
                })?;
            }
            whole_again = pods => {
                whole_again?;
                return Ok(whole(wanted, selector));
            }
        }
    }
}

async fn no_pods(
    cluster: &Cluster,
    selector: &str,
    counts: impl Fn(&Pod) -> bool,
) -> Result<(), FaultError> {
    until_pods(cluster, selector, |pods| !pods.values().any(&counts)).await
}

/// Watches the pods with these labels until all of them together are as wanted.
async fn until_pods(
    cluster: &Cluster,
    selector: &str,
    wanted: impl Fn(&BTreeMap<String, Pod>) -> bool,
) -> Result<(), FaultError> {
    let config = watcher::Config::default().labels(selector);
    until(cluster.api::<Pod>(), config, wanted).await
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Watches objects until all of them together are as wanted.
async fn until<K>(
    api: Api<K>,
    config: watcher::Config,
    wanted: impl Fn(&BTreeMap<String, K>) -> bool,
) -> Result<(), FaultError>
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
    K::DynamicType: Default,
{
    let mut objects = BTreeMap::new();
    let mut complete = false;
    let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
    loop {
        match stream.try_next().await {
            Ok(Some(watcher::Event::Init)) => objects.clear(),
            Ok(Some(watcher::Event::InitApply(one) | watcher::Event::Apply(one))) => {
                objects.insert(one.name_any(), one);
            }
            Ok(Some(watcher::Event::Delete(one))) => drop(objects.remove(&one.name_any())),
            Ok(Some(watcher::Event::InitDone)) => complete = true,
            Ok(None) => return Ok(()),
            // The watcher has backed off and tries again by itself.
            Err(_) => continue,
        }
        if complete && wanted(&objects) {
            return Ok(());
        }
    }
}
