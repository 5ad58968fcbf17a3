//! Which pods go first when there are too many.

use std::cmp::{Ordering, Reverse};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::{ready_condition, ready_since};
use crate::clock;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The names of the `count` pods whose loss costs least.
pub(in crate::controllers) fn choose(pods: &[&Pod], count: usize, now: Timestamp) -> Vec<String> {
    let mut ordered = pods.to_vec();
    ordered.sort_by(|one, other| order(one, other, now));
    ordered
        .into_iter()
        .take(count)
        .filter_map(|pod| pod.metadata.name.clone())
        .collect()
}

/// Unassigned before assigned, pending before running, not ready before ready,
/// cheap before dear, then the ones which have been ready for a shorter time,
/// have restarted more often, are newer. Times count by powers of two, so that
/// a few seconds do not decide; the uid settles the rest.
fn order(one: &Pod, other: &Pod, now: Timestamp) -> Ordering {
    let key = |pod: &Pod| {
        (
            is_assigned(pod),
            phase_rank(pod),
            ready_condition(pod).is_some(),
            deletion_cost(pod),
            ready_since(pod).map(|since| magnitude(clock::seconds_since(since, now))),
        )
    };
    let later = |pod: &Pod| {
        let created = pod
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| clock::seconds_since(time.0, now));
        (
            Reverse(restarts(pod)),
            created.map(magnitude),
            pod.metadata.uid.clone(),
        )
    };
    key(one)
        .cmp(&key(other))
        .then_with(|| later(one).cmp(&later(other)))
}

fn is_assigned(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .is_some_and(|node| !node.is_empty())
}

fn phase_rank(pod: &Pod) -> u8 {
    match pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
    {
        None | Some("Pending") => 0,
        Some("Running") => 2,
        Some(_) => 1,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(DELETION_COST)?.parse().ok())
        .unwrap_or_default()
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|status| status.restart_count)
        .max()
        .unwrap_or_default()
}

/// The power of two of a duration in nanoseconds.
fn magnitude(seconds: u64) -> u32 {
    let nanoseconds = seconds.saturating_mul(1_000_000_000);
    nanoseconds.checked_ilog2().map_or(0, |log| log + 1)
}
