//! `scale`: a Deployment's replicas are set, and set back.

use holdfast_core::fault::Scale;
use serde_json::json;

use super::workload::Workload;
use crate::action::{Action, Condition, Set, Wait};
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
    let set = Set::plan(deployment.object.clone(), &deployment.found, [replicas])?;
    let selector = deployment.selector.clone();
    let followed = match scale.replicas {
        0 => Condition::NoPods(selector),
        pods => Condition::Ready { selector, pods },
    };
    Ok(Blueprint {
        actions: vec![
            Action::Set(set),
            Action::Wait(Wait::for_evidence(followed)),
            deployment.back(),
        ],
        targets: vec![deployment.leaving(scale.replicas)],
    })
}
