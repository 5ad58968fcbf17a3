//! The safety nets: what must hold before anything is changed. Each has a name by which an
//! experiment may switch it off; those without one cannot be.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_core::experiment::SafetyNet;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use crate::action::Action;
use crate::blueprint::{Blueprint, Target};
use crate::error::FaultError;
use crate::halt::halted;
use crate::object::{Cluster, Object};
use crate::pods;

/// The label that a namespace must carry, with the value `allowed`, before anything in it is
/// broken.
pub const CHAOS_LABEL: &str = "holdfast.dev/chaos";

/// The variable that names the node on which Holdfast itself runs, and with it its load. Who runs
/// outside the cluster has none.
const NODE_VARIABLE: &str = "HOLDFAST_NODE";

/// The variable that names the namespace in which Holdfast itself runs, likewise.
const NAMESPACE_VARIABLE: &str = "HOLDFAST_NAMESPACE";

/// In this time a cluster that is well answers for one object: Kubernetes' own objective for its API's
/// latency (sig-scalability, `api_call_latency`). What is slower may be too slow to undo in time.
const SLOWEST_ANSWER: Duration = Duration::from_secs(1);

/// Nothing is broken here, whatever its labels say: the cluster itself would be.
const NEVER: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Whether the fault may be brought about, as far as the cluster says now.
pub(crate) async fn permit(
    cluster: &Cluster,
    blueprint: &Blueprint,
    allow: &[SafetyNet],
) -> Result<(), FaultError> {
    permit_round(cluster, blueprint, allow).await?;
    if !allow.contains(&SafetyNet::Pdb) {
        check_budgets(cluster, blueprint).await?;
    }
    Ok(())
}

/// The same of what is done again: its evictions ask the disruption budgets, one pod after the other.
pub(crate) async fn permit_round(
    cluster: &Cluster,
    blueprint: &Blueprint,
    allow: &[SafetyNet],
) -> Result<(), FaultError> {
    check_namespace_promptly(cluster).await?;
    if let Some(why) = halted(&cluster.client).await? {
        return Err(FaultError::Halted(why));
    }
    let nothing = blueprint.targets.iter().find(|target| target.ready == 0);
    if let Some(target) = nothing {
        return Err(FaultError::NotAvailable(target.what.clone()));
    }
    if !allow.contains(&SafetyNet::BlastRadius) {
        blueprint.targets.iter().try_for_each(check_blast_radius)?;
    }
    Ok(())
}

/// Whether everything that the fault takes something of is well to begin with. Only before a run: in its
/// middle, an earlier fault may have seen to it that it is not.
pub(crate) fn check_available(blueprint: &Blueprint) -> Result<(), FaultError> {
    for target in &blueprint.targets {
        if let Some(why) = &target.unavailable {
            return Err(FaultError::Unavailable {
                what: target.what.clone(),
                why: why.clone(),
            });
        }
    }
    Ok(())
}

/// Refuses before anything is changed what the API server would refuse half-way.
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

/// The same as [`check_namespace`], of a cluster that answers as soon as it must. One slow answer may be
/// chance, two in a row are not.
async fn check_namespace_promptly(cluster: &Cluster) -> Result<(), FaultError> {
    let mut took = Duration::ZERO;
    for _ in 0..2 {
        let asked = Instant::now();
        check_namespace(cluster).await?;
        took = asked.elapsed();
        if took <= SLOWEST_ANSWER {
            return Ok(());
        }
    }
    Err(FaultError::SlowCluster(took))
}

pub(crate) async fn check_namespace(cluster: &Cluster) -> Result<(), FaultError> {
    let name = &cluster.namespace;
    if NEVER.contains(&name.as_str()) {
        return Err(FaultError::NamespaceExcluded(name.clone()));
    }
    if std::env::var(NAMESPACE_VARIABLE).is_ok_and(|own| own == *name) {
        return Err(FaultError::OwnNamespace(name.clone()));
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

/// Spares the node that Holdfast runs on what would distort the load or end the controller, where there
/// is another one to run on.
pub(crate) async fn spare_own_node(
    cluster: &Cluster,
    harmed: &BTreeSet<String>,
) -> Result<(), FaultError> {
    let own = std::env::var(NODE_VARIABLE).ok();
    let Some(own) = own.filter(|own| harmed.contains(own)) else {
        return Ok(());
    };
    let nodes = Api::<Node>::all(cluster.client.clone());
    let nodes = nodes.list(&ListParams::default()).await;
    let nodes = nodes.map_err(FaultError::during("list nodes"))?;
    match nodes.items.len() {
        0 | 1 => Ok(()),
        _ => Err(FaultError::OwnNode(own)),
    }
}

fn check_blast_radius(target: &Target) -> Result<(), FaultError> {
    let (left, ready) = (target.left, target.ready);
    if left == 0 || left.saturating_mul(2) < ready {
        return Err(FaultError::BlastRadius {
            what: target.what.clone(),
            left,
            ready,
        });
    }
    Ok(())
}
