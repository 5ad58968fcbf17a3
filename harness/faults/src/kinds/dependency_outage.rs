//! `dependencyOutage`: all pods of a workload are gone while it is held.

use holdfast_core::fault::DependencyOutage;
use serde_json::json;

use super::workload::Workload;
use crate::action::{Action, Condition, Set, Wait};
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::field::Path;
use crate::object::Resource;

pub(super) async fn blueprint(
    outage: &DependencyOutage,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let (resource, name) = match outage {
        DependencyOutage::Deployment(name) => (Resource::Deployment, name),
        DependencyOutage::StatefulSet(name) => (Resource::StatefulSet, name),
    };
    let workload = Workload::find(context.cluster, resource, name).await?;
    let replicas = (Path::keys(["spec", "replicas"]), Some(json!(0)));
    let set = Set::plan(workload.object.clone(), &workload.found, [replicas])?;
    let gone = Condition::NoPods(workload.selector.clone());
    let taken = workload.pods.len();
    Ok(Blueprint {
        actions: vec![
            Action::Set(set),
            Action::Wait(Wait::for_evidence(gone)),
            workload.back(),
        ],
        targets: vec![workload.target(taken)],
    })
}
