//! What a Job reads off its pods.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::controllers::replica_set::is_terminal;

/// Keeps a pod until its end has been counted.
pub(super) const TRACKING_FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label: which part of an Indexed Job a pod works on.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// A pod, and that very one, not a later one of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodRef {
    pub(super) name: String,
    pub(super) uid: String,
}

impl PodRef {
    pub(super) fn to(pod: &Pod) -> Self {
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: uid(pod).to_owned(),
        }
    }
}

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    let mut finalizers = pod.metadata.finalizers.iter().flatten();
    finalizers.any(|finalizer| finalizer == TRACKING_FINALIZER)
}

pub(super) fn has_succeeded(pod: &Pod) -> bool {
    phase(pod) == Some("Succeeded")
}

pub(super) fn has_failed(pod: &Pod) -> bool {
    phase(pod) == Some("Failed")
}

/// On its way out, with processes that may still run.
pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && !is_terminal(pod)
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// The index it works on, if it is one of the Job's.
pub(super) fn index(pod: &Pod, limit: u32) -> Option<u32> {
    let text = pod.metadata.annotations.as_ref()?.get(INDEX)?;
    text.parse().ok().filter(|index| *index < limit)
}

/// How often the containers of a pod that has not ended were started again.
pub(super) fn restarts(pod: &Pod) -> u32 {
    if is_terminal(pod) {
        return 0;
    }
    let all = containers(pod).map(|container| u32::try_from(container.restart_count).unwrap_or(0));
    all.sum()
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let lists = [
        status.and_then(|status| status.init_container_statuses.as_ref()),
        status.and_then(|status| status.container_statuses.as_ref()),
    ];
    lists.into_iter().flatten().flatten()
}

/// When its last container ended or, for one that is deleted before that, when that was asked for.
pub(super) fn ended_at(pod: &Pod, now: Timestamp) -> Timestamp {
    let ends = containers(pod).map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        Some(ended.finished_at.as_ref()?.0)
    });
    let ends: Option<Vec<Timestamp>> = ends.collect();
    let last = ends.and_then(|ends| ends.into_iter().max());
    let metadata = &pod.metadata;
    let asked = metadata.deletion_timestamp.as_ref().map(|deadline| {
        let grace = metadata.deletion_grace_period_seconds.unwrap_or_default();
        let grace = SignedDuration::from_secs(grace);
        deadline.0.checked_sub(grace).unwrap_or(now)
    });
    last.or(asked).unwrap_or(now)
}
