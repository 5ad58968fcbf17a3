//! The safety nets: what must hold before anything is changed. Each has a name by which an
//! experiment may switch it off; those without one cannot be.

use holdfast_core::experiment::SafetyNet;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::action::Action;
use crate::blueprint::{Blueprint, Target};
use crate::error::FaultError;
use crate::halt::halted;
use crate::object::{Cluster, Object};
use crate::pods;

/// The label that a namespace must carry, with the value `allowed`, before anything in it is
/// broken.
pub const CHAOS_LABEL: &str = "holdfast.dev/chaos";

/// Nothing is broken here, whatever its labels say: the cluster itself would be.
const NEVER: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Whether the fault may be brought about, as far as the cluster says now.
pub(crate) async fn permit(
    cluster: &Cluster,
    blueprint: &Blueprint,
    allow: &[SafetyNet],
) -> Result<(), FaultError> {
    check_namespace(cluster).await?;
    if let Some(why) = halted(&cluster.client).await? {
        return Err(FaultError::Halted(why));
    }
    let nothing = blueprint.targets.iter().find(|target| target.ready == 0);
    if let Some(target) = nothing {
        return Err(FaultError::NotAvailable(target.object.to_string()));
    }
    if !allow.contains(&SafetyNet::BlastRadius) {
        blueprint.targets.iter().try_for_each(check_blast_radius)?;
    }
    if !allow.contains(&SafetyNet::Pdb) {
        check_budgets(cluster, blueprint).await?;
    }
    Ok(())
}

/// A deletion does not ask a pod's disruption budgets as an eviction does: this does.
async fn check_budgets(cluster: &Cluster, blueprint: &Blueprint) -> Result<(), FaultError> {
    let taken: Vec<&Object> = blueprint.actions.iter().flat_map(Action::takes).collect();
    if taken.is_empty() {
        return Ok(());
    }
    let budgets = cluster.api::<PodDisruptionBudget>();
    let budgets = budgets.list(&ListParams::default()).await;
    for budget in budgets.map_err(FaultError::during("list disruption budgets"))? {
        let spec = budget.spec.clone().unwrap_or_default();
        // Without a selector it covers no pod, with an empty one every pod of the namespace.
        let Some(selector) = spec.selector else {
            continue;
        };
        let selector = pods::selector(&selector)?;
        let covered = pods::running(cluster, &selector).await?;
        let hit = covered.iter().filter(|pod| taken.contains(pod)).count();
        let status = budget.status.clone().unwrap_or_default();
        if i32::try_from(hit).is_ok_and(|hit| hit > status.disruptions_allowed) {
            return Err(FaultError::Budget {
                name: budget.name_any(),
                taken: hit,
                allowed: status.disruptions_allowed,
            });
        }
    }
    Ok(())
}

pub(crate) async fn check_namespace(cluster: &Cluster) -> Result<(), FaultError> {
    let name = &cluster.namespace;
    if NEVER.contains(&name.as_str()) {
        return Err(FaultError::NamespaceExcluded(name.clone()));
    }
    let namespace = Api::<Namespace>::all(cluster.client.clone())
        .get(name)
        .await
        .map_err(FaultError::during(format!("read namespace {name}")))?;
    let labels = namespace.metadata.labels.unwrap_or_default();
    if labels
        .get(CHAOS_LABEL)
        .is_some_and(|value| value == "allowed")
    {
        Ok(())
    } else {
        Err(FaultError::NamespaceNotAllowed(name.clone()))
    }
}

fn check_blast_radius(target: &Target) -> Result<(), FaultError> {
    let Target {
        object,
        ready,
        left,
    } = target;
    if *left == 0 || left * 2 < *ready {
        return Err(FaultError::BlastRadius {
            what: object.to_string(),
            left: *left,
            ready: *ready,
        });
    }
    Ok(())
}
