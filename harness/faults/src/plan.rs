//! What a fault would do to a cluster as it is, worked out without changing anything.

use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::Fault;
use kube::{Client, ResourceExt};

use crate::action::{Action, is_ready};
use crate::blueprint::{Blueprint, Context, Target};
use crate::error::FaultError;
use crate::object::{Cluster, Resource};
use crate::{pods, safety};

/// Works faults out against one namespace.
#[derive(Clone, Copy)]
pub struct Planner<'a> {
    /// The cluster.
    pub client: &'a Client,
    /// The namespace of everything that the faults touch.
    pub namespace: &'a str,
    /// The image of the program that does harm inside the cluster.
    pub agent_image: &'a str,
    /// Safety nets switched off by name.
    pub allow: &'a [SafetyNet],
}

impl std::fmt::Debug for Planner<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Planner")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// What a fault would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What is done, one line each, in order.
    pub actions: Vec<String>,
    /// What undoes it, one line each, in order; empty where nothing is left to undo.
    pub undo: Vec<String>,
    /// What loses pods, endpoints or time by it.
    pub targets: Vec<Affected>,
}

/// A workload or a Service that a fault affects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    /// The object, in words.
    pub what: String,
    /// Its pods that are ready, by name; of them it takes its choice.
    pub pods: Vec<String>,
    /// How many of them stay ready at the least.
    pub left: u32,
}

impl Planner<'_> {
    /// What `fault` would do to the cluster as it is now; objects made for it are named after
    /// `name`.
    ///
    /// # Errors
    /// Why it cannot be done, or may not.
    pub async fn effect(&self, name: &str, fault: &Fault) -> Result<Effect, FaultError> {
        let cluster = Cluster {
            client: self.client.clone(),
            namespace: self.namespace.to_owned(),
        };
        safety::check_namespace(&cluster).await?;
        let context = Context {
            cluster: &cluster,
            name,
            not_after: 0,
            agent_image: self.agent_image,
        };
        let blueprint = Blueprint::of(fault, context).await?;
        safety::permit(&cluster, &blueprint, self.allow).await?;
        let mut targets = Vec::new();
        for target in &blueprint.targets {
            targets.push(Affected {
                what: target.object.to_string(),
                pods: ready_pods(&cluster, target).await?,
                left: target.left,
            });
        }
        Ok(Effect {
            actions: blueprint.actions.iter().map(Action::describe).collect(),
            undo: blueprint.undo(),
            targets,
        })
    }
}

/// The names of the pods of a workload or behind a Service that are ready.
async fn ready_pods(cluster: &Cluster, target: &Target) -> Result<Vec<String>, FaultError> {
    let found = cluster
        .get(target.object.resource, &target.object.name)
        .await?;
    let pods = match target.object.resource {
        Resource::Deployment | Resource::StatefulSet => {
            let selector = found.data["spec"]["selector"].clone();
            let selector = serde_json::from_value(selector).map_err(FaultError::Malformed)?;
            pods::all(cluster, &pods::selector(&selector)?).await?
        }
        Resource::Service => pods::behind(cluster, &found).await?,
        Resource::ConfigMap
        | Resource::HorizontalPodAutoscaler
        | Resource::Lease
        | Resource::Pod
        | Resource::Node => return Ok(Vec::new()),
    };
    let ready = pods.iter().filter(|pod| is_ready(pod));
    Ok(ready.map(ResourceExt::name_any).collect())
}
