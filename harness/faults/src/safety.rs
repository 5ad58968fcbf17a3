//! The safety nets: what must hold before anything is changed. Each has a name by which an
//! experiment may switch it off; those without one cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_core::experiment::SafetyNet;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use crate::action::Action;
use crate::blueprint::{Beside, Blueprint, Impact};
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

/// Whether the fault may be brought about beside others, as far as the cluster says now.
pub(crate) async fn permit(
    cluster: &Cluster,
    blueprint: &Blueprint,
    allow: &[SafetyNet],
    others: &[Beside],
) -> Result<(), FaultError> {
    permit_round(cluster, blueprint, allow, others).await?;
    check_budgets(cluster, blueprint).await
}

/// The same of what is done again: its evictions ask the disruption budgets, one pod after the other.
pub(crate) async fn permit_round(
    cluster: &Cluster,
    blueprint: &Blueprint,
    allow: &[SafetyNet],
    others: &[Beside],
) -> Result<(), FaultError> {
    check_namespace_promptly(cluster).await?;
    if let Some(why) = halted(&cluster.client).await? {
        return Err(FaultError::Halted(why));
    }
    if let Some(nothing) = blueprint.impacts().find(|impact| impact.ready == 0) {
        return Err(FaultError::NotAvailable(nothing.what.clone()));
    }
    if !allow.contains(&SafetyNet::BlastRadius) {
        let mut impacts = blueprint.impacts();
        impacts.try_for_each(|impact| check_blast_radius(impact, others))?;
    }
    Ok(())
}

/// Whether everything that the fault takes something of is well to begin with. Only before a run: in its
/// middle, an earlier fault may have seen to it that it is not.
pub(crate) fn check_available(blueprint: &Blueprint) -> Result<(), FaultError> {
    for target in &blueprint.targets {
        if let Some(why) = &target.unavailable {
            return Err(FaultError::Unavailable {
                what: target.impact.what.clone(),
                why: why.clone(),
            });
        }
    }
    Ok(())
}

/// Refuses before anything is changed what the API server would refuse half-way.
async fn check_budgets(cluster: &Cluster, blueprint: &Blueprint) -> Result<(), FaultError> {
    let evicted: Vec<&Object> = blueprint.actions.iter().flat_map(Action::evicts).collect();
    if evicted.is_empty() {
        return Ok(());
    }
    // A drain waits for its budgets, one pod after the other.
    let taken: Vec<&Object> = blueprint.actions.iter().flat_map(Action::takes).collect();
    let mut protected = BTreeMap::new();
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
        for pod in covered.iter().filter(|pod| evicted.contains(pod)) {
            if let Some(other) = protected.insert(pod.uid.clone(), budget.name_any()) {
                return Err(FaultError::Impossible(format!(
                    "{pod} is covered by two disruption budgets, {other} and {}, and the eviction API \
                     evicts no such pod",
                    budget.name_any()
                )));
            }
        }
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

/// Held to what all faults leave together of the pods that were ready before any of them.
fn check_blast_radius(impact: &Impact, others: &[Beside]) -> Result<(), FaultError> {
    // What takes nothing adds nothing to what others were permitted to.
    if impact.taken() == 0 {
        return Ok(());
    }
    let others = others.iter().filter(|one| one.impact.what == impact.what);
    let (mut ready, mut taken, mut beside) = (impact.ready, impact.taken(), Vec::new());
    for other in others {
        ready = ready.max(other.impact.ready);
        if other.impact.taken() > 0 {
            taken = taken.saturating_add(other.impact.taken());
            beside.push(other.fault.clone());
        }
    }
    // Fewer where pods are away that no fault has taken.
    let left = ready.saturating_sub(taken).min(impact.left);
    if left == 0 || left.saturating_mul(2) < ready {
        return Err(FaultError::BlastRadius {
            what: impact.what.clone(),
            left,
            ready,
            beside,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_pay(ready: u32, left: u32) -> Impact {
        Impact {
            what: "deployment pay".to_owned(),
            ready,
            left,
        }
    }

    /// What is told of a fault that leaves `left` of `ready` pods, beside others.
    fn refusal(ready: u32, left: u32, others: &[(u32, u32)]) -> Option<String> {
        let others = others.iter().zip(["freeze", "scale"]);
        let mut others: Vec<_> = others
            .map(|((ready, left), fault)| Beside {
                fault: fault.to_owned(),
                impact: of_pay(*ready, *left),
            })
            .collect();
        others.push(Beside {
            fault: "elsewhere".to_owned(),
            impact: Impact {
                what: "deployment app".to_owned(),
                ..of_pay(100, 1)
            },
        });
        let refused = check_blast_radius(&of_pay(ready, left), &others).err()?;
        let text = refused.to_string();
        let (told, _) = text.split_once("; more than half").unwrap();
        Some(told.to_owned())
    }

    #[test]
    fn what_faults_take_together_is_held_to_what_was_there_before_them() {
        for (ready, left, others, told) in [
            (4, 2, &[][..], None),
            (3, 2, &[(4, 3)][..], None),
            (
                4,
                2,
                &[(4, 3)],
                Some("1 of 4 ready pods of deployment pay together with the fault freeze"),
            ),
            (
                5,
                4,
                &[(6, 5), (5, 3)],
                Some(
                    "2 of 6 ready pods of deployment pay together with the fault freeze and the fault scale",
                ),
            ),
            // Of four pods one is frozen, and another one is away by itself.
            (
                2,
                1,
                &[(4, 3)],
                Some("1 of 4 ready pods of deployment pay together with the fault freeze"),
            ),
            // Whoever was permitted to take all may.
            (1, 1, &[(2, 0)], None),
            (4, 1, &[(4, 4)], Some("1 of 4 ready pods of deployment pay")),
        ] {
            let told = told.map(|told| format!("the fault leaves {told}"));
            assert_eq!(
                refusal(ready, left, others),
                told,
                "{left} of {ready}, {others:?}"
            );
        }
    }
}
