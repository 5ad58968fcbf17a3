//! What a Job asks for, read once from its spec.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::jiff::SignedDuration;

/// Who looks after Jobs that do not say so.
const CONTROLLER_NAME: &str = "kubernetes.io/job-controller";

#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) parallelism: u32,
    /// How many successes it takes. Absent: one, whereupon no more pods are started.
    pub(super) completions: Option<u32>,
    /// Each index below `completions` must succeed once.
    pub(super) indexed: bool,
    pub(super) failures_allowed: u32,
    pub(super) active_deadline: Option<SignedDuration>,
    pub(super) suspended: bool,
    pub(super) replacement: Replacement,
    pub(super) time_to_live: Option<SignedDuration>,
}

/// When a pod that is being deleted is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// As soon as its deletion is asked for, which also counts as its failure.
    WhenTerminating,
    /// When it has ended.
    WhenEnded,
}

impl Shape {
    /// `None` for a Job which someone else looks after.
    pub(super) fn of(job: &Job) -> Option<Self> {
        let spec = job.spec.as_ref()?;
        let ours = spec
            .managed_by
            .as_ref()
            .is_none_or(|manager| manager == CONTROLLER_NAME);
        ours.then(|| Self::of_spec(spec))
    }

    fn of_spec(spec: &JobSpec) -> Self {
        let count = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
        Self {
            parallelism: count(spec.parallelism).unwrap_or(1),
            completions: count(spec.completions),
            indexed: spec.completion_mode.as_deref() == Some("Indexed"),
            failures_allowed: count(spec.backoff_limit).unwrap_or(6),
            active_deadline: spec.active_deadline_seconds.map(SignedDuration::from_secs),
            suspended: spec.suspend == Some(true),
            replacement: match spec.pod_replacement_policy.as_deref() {
                Some("Failed") => Replacement::WhenEnded,
                Some(_) | None => Replacement::WhenTerminating,
            },
            time_to_live: spec
                .ttl_seconds_after_finished
                .map(|seconds| SignedDuration::from_secs(seconds.into())),
        }
    }

    /// Indexes are below this.
    pub(super) fn index_limit(&self) -> u32 {
        self.completions.unwrap_or_default()
    }
}
