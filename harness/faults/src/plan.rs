//! What a fault would do to a cluster as it is, worked out without changing anything.

use holdfast_core::experiment::SafetyNet;
use holdfast_core::plan::PlannedFault;
use kube::Client;

use crate::action::Action;
use crate::blueprint::{Beside, Blueprint, Context, Target};
use crate::error::FaultError;
use crate::object::Cluster;
use crate::safety;

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
    /// Its pods that are ready, by name.
    pub pods: Vec<String>,
    /// How many of them stay ready at the least.
    pub left: u32,
}

impl Planner<'_> {
    /// What `fault` would do to the cluster as it is now, beside those of its run that begin no
    /// later and are in effect by then; objects made for it are named after `name`.
    ///
    /// # Errors
    /// Why it cannot be done, or may not.
    pub async fn effect(
        &self,
        name: &str,
        fault: &PlannedFault,
        earlier: &[PlannedFault],
    ) -> Result<Effect, FaultError> {
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
            allow: self.allow,
        };
        let blueprint = Blueprint::of(&fault.fault, context).await?;
        let mut others = Vec::new();
        for other in earlier.iter().filter(|other| other.lasts_until(fault)) {
            let blueprint = match Blueprint::of(&other.fault, context).await {
                Ok(blueprint) => blueprint,
                Err(error) if error.is_unanswered() => return Err(error),
                // One that cannot be done is refused itself.
                Err(_) => continue,
            };
            others.extend(blueprint.targets.into_iter().map(|target| Beside {
                fault: other.name.clone(),
                impact: target.impact,
            }));
        }
        safety::permit(&cluster, &blueprint, self.allow, &others).await?;
        safety::check_available(&blueprint)?;
        for action in &blueprint.actions {
            action.try_out(&cluster).await?;
        }
        Ok(Effect {
            actions: blueprint.actions.iter().map(Action::describe).collect(),
            undo: blueprint.undo(),
            targets: blueprint.targets.into_iter().map(affected).collect(),
        })
    }
}

fn affected(target: Target) -> Affected {
    Affected {
        what: target.impact.what,
        pods: target.pods,
        left: target.impact.left,
    }
}
