//! `podKill`: pods are evicted, or deleted where budgets need not be asked; their controller replaces them.

use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::PodKill;

use super::workload::Workload;
use crate::action::{Action, Condition, Kill, Means, Wait};
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::pods;

pub(super) async fn blueprint(
    kill: &PodKill,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let deployment = Workload::deployment(context.cluster, &kill.deployment).await?;
    let pods: Vec<_> = deployment
        .choose(kill.count)
        .into_iter()
        .map(pods::object)
        .collect();
    let taken = pods.len();
    let means = if context.allow.contains(&SafetyNet::Pdb) {
        Means::Deletion
    } else {
        Means::Eviction
    };
    let whole = Condition::Replaced {
        deployment: kill.deployment.clone(),
        selector: deployment.selector.clone(),
        pods: pods.iter().map(|pod| pod.uid.clone()).collect(),
        ready: deployment.ready(),
    };
    Ok(Blueprint {
        actions: vec![
            // Undone last, which is when the pods that were killed have been replaced.
            Action::Wait(Wait::before_the_end(whole)),
            Action::Kill(Kill {
                pods,
                selector: deployment.selector.clone(),
                means,
                grace: kill
                    .grace
                    .map(|grace| u32::try_from(grace.as_secs()).unwrap_or(u32::MAX)),
                every: kill.every,
            }),
        ],
        targets: vec![deployment.target(taken)],
    })
}
