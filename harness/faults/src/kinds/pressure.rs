//! `cpuPressure`, `memoryPressure` and `diskFull`: something that pods need becomes scarce.

use std::collections::BTreeSet;

use holdfast_core::fault::{CpuPressure, DiskFull, MemoryPressure};

use super::agent::Agent;
use super::stop::{node, of_pod};
use super::workload::Workload;
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::safety::spare_own_node;

pub(super) async fn cpu(cpu: &CpuPressure, context: Context<'_>) -> Result<Blueprint, FaultError> {
    let words = [
        "cpu".to_owned(),
        "--workers".to_owned(),
        cpu.workers.to_string(),
        "--load".to_owned(),
        format!("{}%", cpu.load),
    ];
    on_nodes(&cpu.deployment, &words, context).await
}

pub(super) async fn memory(
    memory: &MemoryPressure,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let words = [
        "memory".to_owned(),
        "--bytes".to_owned(),
        memory.bytes.0.to_string(),
    ];
    on_nodes(&memory.deployment, &words, context).await
}

/// One agent on each node that has a pod of the Deployment.
async fn on_nodes(
    deployment: &str,
    words: &[String],
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let deployment = Workload::deployment(context.cluster, deployment).await?;
    let nodes: BTreeSet<_> = deployment.pods.iter().filter_map(node).collect();
    spare_own_node(context.cluster, &nodes).await?;
    let agents = nodes.into_iter().enumerate().map(|(index, node)| Agent {
        suffix: format!("-{index}"),
        arguments: words.to_vec(),
        node: Some(node),
        ..Agent::default()
    });
    let actions = agents.flat_map(|agent| agent.actions(context));
    let actions = actions.chain([deployment.back()]).collect();
    Ok(Blueprint {
        actions,
        targets: vec![deployment.target(0)],
    })
}

pub(super) async fn disk(disk: &DiskFull, context: Context<'_>) -> Result<Blueprint, FaultError> {
    let deployment = Workload::deployment(context.cluster, &disk.deployment).await?;
    let chosen = deployment.choose(disk.count);
    let agents = chosen.iter().enumerate().map(|(index, pod)| {
        let how_much = [
            "--path".to_owned(),
            disk.path.clone(),
            "--leave".to_owned(),
            disk.leave.0.to_string(),
        ];
        Agent {
            suffix: format!("-{index}"),
            arguments: of_pod("disk", pod).chain(how_much).collect(),
            node: node(pod),
            // To look into the pod's folders, and to write there.
            capabilities: &["SYS_PTRACE", "DAC_OVERRIDE"],
            ..Agent::default()
        }
    });
    let actions = agents.flat_map(|agent| agent.actions(context));
    let actions = actions.chain([deployment.back()]).collect();
    let taken = chosen.len();
    Ok(Blueprint {
        actions,
        targets: vec![deployment.target(taken)],
    })
}
