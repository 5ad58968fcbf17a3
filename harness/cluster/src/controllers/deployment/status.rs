//! What a Deployment reports: counts and conditions.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::fenceposts::Fenceposts;
use super::sets::{self, Sets};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const NEW_SET_CREATED: &str = "NewReplicaSetCreated";
const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";

/// Whether all pods are of the present template, and available.
pub(super) fn is_complete(sets: &Sets, replicas: i32) -> bool {
    let all = [sets.sum(sets::current), sets.sum(sets::available)];
    let updated = sets.new.as_deref().map_or(0, sets::current);
    updated == replicas && all == [replicas; 2]
}

/// A Deployment as it is found.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) sets: &'a Sets,
    pub(super) posts: &'a Fenceposts,
    /// A set for the present template is being created in this step.
    pub(super) created: bool,
}

/// The status to report now, and when to look whether progress is overdue.
pub(super) fn next(found: &Found<'_>, now: Timestamp) -> (DeploymentStatus, Option<Duration>) {
    let Found {
        deployment,
        sets,
        posts,
        ..
    } = *found;
    let before = deployment.status.clone().unwrap_or_default();
    let mut status = counts(deployment, sets);
    let mut conditions = Conditions {
        list: before.conditions.clone().unwrap_or_default(),
        now,
    };
    let enough = status.available_replicas.unwrap_or_default() >= posts.min_available();
    if enough {
        conditions.set(
            AVAILABLE,
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        );
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set(AVAILABLE, "False", "MinimumReplicasUnavailable", message);
    }
    match replica_failure(sets) {
        Some(failure) => conditions.replace(failure),
        None => conditions.remove(REPLICA_FAILURE),
    }
    let again = progress(found, &before, &status, &mut conditions);
    status.conditions = Some(conditions.list);
    (status, again)
}

fn counts(deployment: &Deployment, sets: &Sets) -> DeploymentStatus {
    let available = sets.sum(sets::available);
    // Counts of zero are left out, as real servers do.
    let positive = |count: i32| (count > 0).then_some(count);
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: positive(sets.sum(sets::current)),
        updated_replicas: positive(sets.new.as_deref().map_or(0, sets::current)),
        ready_replicas: positive(sets.sum(sets::ready)),
        available_replicas: positive(available),
        unavailable_replicas: positive(sets.total() - available),
        collision_count: deployment
            .status
            .as_ref()
            .and_then(|status| status.collision_count),
        ..DeploymentStatus::default()
    }
}

struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    /// The reason of a condition, empty without one.
    fn reason(&self, kind: &str) -> String {
        let condition = self.get(kind);
        condition
            .and_then(|condition| condition.reason.clone())
            .unwrap_or_default()
    }

    /// Sets a condition unless it says so already.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let same = |present: &DeploymentCondition| {
            present.status == status && present.reason.as_deref() == Some(reason)
        };
        if !self.get(kind).is_some_and(same) {
            self.refresh(kind, status, reason, message);
        }
    }

    fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition.type_ != kind);
    }

    /// Takes a condition over, unless it says so already.
    fn replace(&mut self, condition: DeploymentCondition) {
        let same = |present: &DeploymentCondition| {
            present.status == condition.status && present.reason == condition.reason
        };
        if !self.get(&condition.type_).is_some_and(same) {
            self.remove(&condition.type_);
            self.list.push(condition);
        }
    }

    /// Sets a condition with the present time of update.
    fn refresh(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let now = Some(Time(self.now));
        let present = self.get(kind).filter(|present| present.status == status);
        let transition =
            present.map_or(now.clone(), |present| present.last_transition_time.clone());
        self.list.retain(|condition| condition.type_ != kind);
        self.list.push(DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: now,
            last_transition_time: transition,
        });
    }
}

/// Why a set cannot have its pods, the new one's reason first.
fn replica_failure(sets: &Sets) -> Option<DeploymentCondition> {
    let newest_first = sets.new.iter().chain(&sets.old);
    let mut failures = newest_first.filter_map(|set| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions
            .iter()
            .find(|condition| condition.type_ == REPLICA_FAILURE)
    });
    let failure = failures.next()?;
    Some(DeploymentCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_transition_time: failure.last_transition_time.clone(),
        last_update_time: failure.last_transition_time.clone(),
    })
}

/// The condition `Progressing`. Being overdue is only reported: nothing stops
/// or is rolled back.
fn progress(
    found: &Found<'_>,
    before: &DeploymentStatus,
    status: &DeploymentStatus,
    conditions: &mut Conditions,
) -> Option<Duration> {
    let Found {
        deployment, sets, ..
    } = *found;
    let spec = deployment.spec.as_ref()?;
    let Some(deadline) = spec
        .progress_deadline_seconds
        .filter(|deadline| *deadline != i32::MAX)
    else {
        conditions.remove(PROGRESSING);
        return None;
    };
    let reason = conditions.reason(PROGRESSING);
    if spec.paused == Some(true) {
        if reason != DEADLINE_EXCEEDED {
            conditions.set(
                PROGRESSING,
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused",
            );
        }
        return None;
    }
    if reason == "DeploymentPaused" {
        conditions.set(
            PROGRESSING,
            "Unknown",
            "DeploymentResumed",
            "Deployment is resumed",
        );
        return Some(Duration::ZERO);
    }
    let name = sets.new.as_deref().map(sets::name);
    let name = name.unwrap_or_else(|| sets::name_for(deployment));
    match describe(found, &name, before, status, conditions) {
        Outlook::Settled => None,
        Outlook::Moving => overdue(&name, deadline, conditions),
    }
}

/// Whether a rollout is on its way.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum Outlook {
    Settled,
    Moving,
}

fn describe(
    found: &Found<'_>,
    name: &str,
    before: &DeploymentStatus,
    status: &DeploymentStatus,
    conditions: &mut Conditions,
) -> Outlook {
    let Found {
        sets,
        posts,
        created,
        ..
    } = *found;
    let reason = conditions.reason(PROGRESSING);
    if created {
        let message = format!("Created new replica set for {name:?}");
        conditions.refresh(PROGRESSING, "True", NEW_SET_CREATED, &message);
    } else if is_complete(sets, posts.replicas) {
        let message = format!("ReplicaSet {name:?} has successfully progressed.");
        conditions.set(PROGRESSING, "True", NEW_SET_AVAILABLE, &message);
        return Outlook::Settled;
    } else if reason == NEW_SET_AVAILABLE && status.replicas == status.updated_replicas {
        // A complete deployment which is scaled, or loses a pod, is not rolling out.
        return Outlook::Settled;
    } else if reason.is_empty() && sets.new.is_some() {
        conditions.set(
            PROGRESSING,
            "True",
            "FoundNewReplicaSet",
            &format!("Found new replica set {name:?}"),
        );
    } else if has_progressed(before, status) {
        let message = format!("ReplicaSet {name:?} is progressing.");
        conditions.refresh(PROGRESSING, "True", "ReplicaSetUpdated", &message);
    }
    Outlook::Moving
}

/// Reports that progress is overdue, or tells when it will be.
fn overdue(name: &str, deadline: i32, conditions: &mut Conditions) -> Option<Duration> {
    let condition = conditions.get(PROGRESSING)?;
    // A rollout which has not yet begun to move is not overdue since the last one.
    if let Some(DEADLINE_EXCEEDED | NEW_SET_AVAILABLE) = condition.reason.as_deref() {
        return None;
    }
    let due =
        condition.last_update_time.as_ref()?.0 + SignedDuration::from_secs((deadline + 1).into());
    let left = due.duration_since(conditions.now);
    if left.is_positive() {
        return Duration::try_from(left).ok();
    }
    let message = format!("ReplicaSet {name:?} has timed out progressing.");
    conditions.set(PROGRESSING, "False", DEADLINE_EXCEEDED, &message);
    None
}

/// More new pods, fewer old ones, or more of them ready or available.
fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let updated = |status: &DeploymentStatus| status.updated_replicas.unwrap_or_default();
    let old = |status: &DeploymentStatus| status.replicas.unwrap_or_default() - updated(status);
    updated(after) > updated(before)
        || old(after) < old(before)
        || after.ready_replicas > before.ready_replicas
        || after.available_replicas > before.available_replicas
}
