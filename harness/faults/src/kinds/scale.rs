//! `scale`: a Deployment's replicas are set, and set back.

use holdfast_core::fault::Scale;
use serde_json::json;

use super::workload::Workload;
use crate::action::{Action, Set};
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::field::Path;

pub(super) async fn blueprint(
    scale: &Scale,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let deployment = Workload::deployment(context.cluster, &scale.deployment).await?;
    let replicas = (
        Path::keys(["spec", "replicas"]),
        Some(json!(scale.replicas)),
    );
    let set = Set::plan(deployment.object.clone(), &deployment.found, [replicas]);
    let taken = deployment.ready().saturating_sub(scale.replicas) as usize;
    Ok(Blueprint {
        actions: vec![Action::Set(set)],
        targets: vec![deployment.target(taken)],
    })
}
