//! `podFreeze` and `probeFlap`: the processes of pods stand still, all the time or in turn.

use holdfast_core::fault::{Count, PodFreeze, ProbeFlap};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::agent::Agent;
use super::workload::Workload;
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;

pub(super) async fn freeze(
    freeze: &PodFreeze,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    stop(&freeze.deployment, freeze.count, &[], context).await
}

pub(super) async fn flap(flap: &ProbeFlap, context: Context<'_>) -> Result<Blueprint, FaultError> {
    let seconds = |time: std::time::Duration| format!("{}ms", time.as_millis());
    let in_turn = [
        "--down".to_owned(),
        seconds(flap.down),
        "--up".to_owned(),
        seconds(flap.up),
    ];
    stop(&flap.deployment, flap.count, &in_turn, context).await
}

async fn stop(
    deployment: &str,
    count: Count,
    in_turn: &[String],
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let deployment = Workload::deployment(context.cluster, deployment).await?;
    let chosen = deployment.choose(count);
    let agents = chosen.iter().enumerate().map(|(index, pod)| Agent {
        suffix: format!("-{index}"),
        arguments: of_pod("freeze", pod)
            .chain(in_turn.iter().cloned())
            .collect(),
        node: node(pod),
        capabilities: &["KILL"],
        ..Agent::default()
    });
    let actions = agents.flat_map(|agent| agent.actions(context));
    let actions = actions.chain([deployment.back()]).collect();
    let taken = chosen.len();
    Ok(Blueprint {
        actions,
        targets: vec![deployment.target(taken)],
    })
}

/// The agent's words for a mode that acts on one pod.
pub(super) fn of_pod(mode: &str, pod: &Pod) -> impl Iterator<Item = String> {
    let uid = pod.uid().unwrap_or_default();
    let words = [mode.to_owned(), "--pod-uid".to_owned(), uid];
    words
        .into_iter()
        .chain(["--pod-name".to_owned(), pod.name_any()])
}

pub(super) fn node(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}
