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
    let deployment = Workload::deployment(context.cluster, &freeze.deployment).await?;
    Ok(stop(&deployment, freeze.count, &[], context))
}

pub(super) async fn flap(flap: &ProbeFlap, context: Context<'_>) -> Result<Blueprint, FaultError> {
    let seconds = |time: std::time::Duration| format!("{}ms", time.as_millis());
    let in_turn = [
        "--down".to_owned(),
        seconds(flap.down),
        "--up".to_owned(),
        seconds(flap.up),
    ];
    let deployment = Workload::deployment(context.cluster, &flap.deployment).await?;
    has_readiness_probe(&deployment)?;
    Ok(stop(&deployment, flap.count, &in_turn, context))
}

/// A pod without one is ready as long as its containers run, and a stopped process runs.
fn has_readiness_probe(deployment: &Workload) -> Result<(), FaultError> {
    let spec = &deployment.found.data["spec"]["template"]["spec"];
    let lists = ["containers", "initContainers"].map(|list| spec[list].as_array());
    let mut containers = lists.into_iter().flatten().flatten();
    if containers.any(|container| container["readinessProbe"].is_object()) {
        return Ok(());
    }
    Err(FaultError::Impossible(format!(
        "no container of {} has a readinessProbe, so that none of its pods would become unready; \
         podFreeze stops them without that",
        deployment.object
    )))
}

fn stop(
    deployment: &Workload,
    count: Count,
    in_turn: &[String],
    context: Context<'_>,
) -> Blueprint {
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
    Blueprint {
        actions,
        targets: vec![deployment.target(taken)],
    }
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
