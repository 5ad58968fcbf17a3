//! PodDisruptionBudgets: how many pods may be evicted at present.
//!
//! The budget's status says it; whoever evicts a pod takes one off and notes the
//! pod, so that it counts as gone before it is.

mod scale;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{
    PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::replica_set::ready_condition;
use super::{Controller, concerned};
use crate::clock;
use crate::events::{Recorder, Severity};
use crate::selector::Selector;
use crate::store::{Event, Key, Kinds, Resource, Store, StoreError, Stored};
use scale::{NoScale, expected_scale};

/// The condition of a budget which says whether a pod may be evicted.
const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";

/// How long an evicted pod counts as gone although nobody has deleted it.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// When an eviction at `since` no longer counts.
fn timeout_of(since: Timestamp) -> Timestamp {
    since
        .checked_add(DELETION_TIMEOUT)
        .unwrap_or(Timestamp::MAX)
}

#[derive(Debug)]
pub(super) struct Disruptions {
    store: Store,
    recorder: Recorder,
}

impl Disruptions {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            recorder: Recorder::new(store.clone(), "controllermanager"),
        }
    }
}

impl Controller for Disruptions {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn watched(&self) -> Kinds {
        Kinds::Only(&[Resource::PodDisruptionBudgets, Resource::Pods])
    }

    fn concerned(&self, event: &Event) -> Vec<Key> {
        match event.resource {
            Resource::Pods => {
                concerned::selecting(&self.store, event, &Resource::PodDisruptionBudgets)
            }
            _ => vec![concerned::itself(event)],
        }
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        let Some(about) = self
            .store
            .get(key.resource.clone(), &key.namespace, &key.name)
        else {
            return Ok(None);
        };
        let Some(budget) = about.typed::<PodDisruptionBudget>() else {
            return Ok(None);
        };
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let pods = match selector.and_then(Selector::of_label_selector) {
            Some(selector) => self.store.select(Resource::Pods, &key.namespace, &selector),
            None => Vec::new(),
        };
        let pods: Vec<Arc<Pod>> = pods.iter().filter_map(|pod| pod.typed()).collect();
        let scale = expected_scale(&self.store, &pods);
        let plan = plan(&budget, &pods, &scale, clock::now());
        self.tell(&about, &pods, &plan);
        let status = json!(plan.status);
        self.store
            .update(key.resource.clone(), &key.namespace, &key.name, |object| {
                // An eviction that came in between is not undone: it leads here again.
                if object["metadata"]["resourceVersion"] == about["metadata"]["resourceVersion"] {
                    object["status"] = status;
                }
            })?;
        Ok(plan.again)
    }
}

impl Disruptions {
    fn tell(&self, about: &Stored, pods: &[Arc<Pod>], plan: &Plan) {
        if pods.is_empty() {
            let message = "No matching pods found";
            self.recorder
                .record(about, Severity::Normal, "NoPods", message);
        }
        if let Some(problem) = &plan.problem {
            let message = format!("Failed to calculate the number of expected pods: {problem}");
            let reason = "CalculateExpectedPodCountFailed";
            self.recorder
                .record(about, Severity::Warning, reason, &message);
        }
    }
}

#[derive(Debug)]
struct Plan {
    status: PodDisruptionBudgetStatus,
    /// Why the budget cannot be computed.
    problem: Option<String>,
    /// When the first noted eviction is overdue.
    again: Option<Duration>,
}

/// Decides a budget's status, given the pods it selects and the size their
/// controllers shall have.
fn plan(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    scale: &Result<i32, NoScale>,
    now: Timestamp,
) -> Plan {
    let before = budget.status.clone().unwrap_or_default();
    let spec = budget.spec.clone().unwrap_or_default();
    let expected = match expected_pods(&spec, pods, scale) {
        Ok(expected) => expected,
        Err(problem) => return failed(before, problem, now),
    };
    let disrupted = still_expected_to_go(&before, pods, now);
    let counts = |pod: &&Arc<Pod>| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none()
            && !disrupted.contains_key(name)
            && ready_condition(pod).is_some()
    };
    let healthy = i32::try_from(pods.iter().filter(counts).count()).unwrap_or(i32::MAX);
    let allowed = if expected.pods > 0 {
        (healthy - expected.healthy).max(0)
    } else {
        0
    };
    let (is_allowed, reason) = if allowed > 0 {
        (true, "SufficientPods")
    } else {
        (false, "InsufficientPods")
    };
    let first = disrupted.values().map(|time| time.0).min();
    let again =
        first.and_then(|time| Duration::try_from(timeout_of(time).duration_since(now)).ok());
    let observed_generation = budget.metadata.generation;
    let condition = Condition {
        observed_generation,
        ..condition(is_allowed, reason, "", now)
    };
    Plan {
        status: PodDisruptionBudgetStatus {
            conditions: Some(with_condition(&before, condition)),
            current_healthy: healthy,
            desired_healthy: expected.healthy,
            disrupted_pods: Some(disrupted).filter(|pods| !pods.is_empty()),
            disruptions_allowed: allowed,
            expected_pods: expected.pods,
            observed_generation,
        },
        problem: None,
        again,
    }
}

/// A budget that cannot be computed allows nothing.
fn failed(before: PodDisruptionBudgetStatus, problem: String, now: Timestamp) -> Plan {
    let condition = Condition {
        observed_generation: before.observed_generation,
        ..condition(false, "SyncFailed", &problem, now)
    };
    Plan {
        status: PodDisruptionBudgetStatus {
            conditions: Some(with_condition(&before, condition)),
            disruptions_allowed: 0,
            ..before
        },
        problem: Some(problem),
        again: None,
    }
}

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
struct Expected {
    pods: i32,
    healthy: i32,
}

/// Percentages are of the size which the controllers of the pods shall have, and
/// are rounded up, for available as for unavailable pods.
fn expected_pods(
    spec: &PodDisruptionBudgetSpec,
    pods: &[Arc<Pod>],
    scale: &Result<i32, NoScale>,
) -> Result<Expected, String> {
    let scale = || match scale {
        Ok(scale) => Ok(*scale),
        Err(error) => Err(error.to_string()),
    };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => {
            let pods = scale()?;
            let healthy = (pods - resolved(unavailable, pods)).max(0);
            Ok(Expected { pods, healthy })
        }
        (None, Some(IntOrString::Int(healthy))) => Ok(Expected {
            pods: i32::try_from(pods.len()).unwrap_or(i32::MAX),
            healthy: *healthy,
        }),
        (None, Some(available)) => {
            let pods = scale()?;
            let healthy = resolved(available, pods);
            Ok(Expected { pods, healthy })
        }
        (None, None) => Ok(Expected {
            pods: 0,
            healthy: 0,
        }),
    }
}

fn resolved(value: &IntOrString, total: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            let exact = (i64::from(total) * percent + 99) / 100;
            i32::try_from(exact).unwrap_or(i32::MAX)
        }
    }
}

/// The evicted pods which nobody has deleted yet, and not for too long.
fn still_expected_to_go(
    before: &PodDisruptionBudgetStatus,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> BTreeMap<String, Time> {
    let noted = before.disrupted_pods.iter().flatten();
    noted
        .filter(|(name, since)| {
            let is_here = pods.iter().any(|pod| {
                pod.metadata.name.as_ref() == Some(name)
                    && pod.metadata.deletion_timestamp.is_none()
            });
            is_here && timeout_of(since.0) > now
        })
        .map(|(name, since)| (name.clone(), since.clone()))
        .collect()
}

fn condition(is_allowed: bool, reason: &str, message: &str, now: Timestamp) -> Condition {
    Condition {
        type_: DISRUPTION_ALLOWED.to_owned(),
        status: if is_allowed { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: None,
    }
}

/// The conditions with this one in its place. The time is that of the last
/// change of its status.
fn with_condition(before: &PodDisruptionBudgetStatus, mut condition: Condition) -> Vec<Condition> {
    let mut conditions = before.conditions.clone().unwrap_or_default();
    let place = conditions
        .iter()
        .position(|present| present.type_ == condition.type_);
    match place {
        Some(place) => {
            if conditions[place].status == condition.status {
                condition.last_transition_time = conditions[place].last_transition_time.clone();
            }
            conditions[place] = condition;
        }
        None => conditions.push(condition),
    }
    conditions
}

#[cfg(test)]
mod tests;
