//! Counting how a Job's pods ended, each exactly once.
//!
//! A pod is kept by a finalizer until it is counted, in three steps, any of which may be the last
//! before an interruption: its uid is noted in the Job's status; its finalizer is removed; the uid
//! is exchanged for one more in the count. The index of a success needs no such care: noting it
//! twice changes nothing.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::back_off::End;
use super::indexes::Indexes;
use super::pods::{
    PodRef, ended_at, has_failed, has_succeeded, index, is_terminating, is_tracked, uid,
};
use super::shape::{Replacement, Shape};

#[derive(Debug)]
pub(super) struct Tally<'a> {
    shape: &'a Shape,
    pods: &'a [&'a Pod],
    succeeded: Ended,
    failed: Ended,
    pub(super) indexes: Indexes,
    /// Whose finalizers may go once the status is written.
    pub(super) untrack: Vec<PodRef>,
    /// What was counted for the first time.
    pub(super) news: Vec<End>,
}

/// Pods that ended one way.
#[derive(Default, Debug)]
struct Ended {
    counted: usize,
    /// Uids of pods which may still have their finalizer.
    noted: Vec<String>,
}

impl Ended {
    fn new(counted: Option<i32>, noted: Option<&Vec<String>>) -> Self {
        Self {
            counted: counted
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or_default(),
            noted: noted.cloned().unwrap_or_default(),
        }
    }

    fn total(&self) -> usize {
        self.counted + self.noted.len()
    }

    /// Counts for good those whose finalizer is gone.
    fn settle(&mut self, tracked: &BTreeSet<&str>) {
        let before = self.noted.len();
        self.noted.retain(|noted| tracked.contains(noted.as_str()));
        self.counted += before - self.noted.len();
    }
}

impl<'a> Tally<'a> {
    /// Counts the pods that have ended since `status` was written.
    pub(super) fn of(
        shape: &'a Shape,
        status: &JobStatus,
        pods: &'a [&'a Pod],
        now: Timestamp,
    ) -> Self {
        let noted = status.uncounted_terminated_pods.as_ref();
        let indexes = status.completed_indexes.as_deref().unwrap_or_default();
        let mut tally = Self {
            shape,
            pods,
            succeeded: Ended::new(
                status.succeeded,
                noted.and_then(|noted| noted.succeeded.as_ref()),
            ),
            failed: Ended::new(status.failed, noted.and_then(|noted| noted.failed.as_ref())),
            indexes: Indexes::parse(indexes, shape.index_limit()),
            untrack: Vec::new(),
            news: Vec::new(),
        };
        let tracked = pods.iter().filter(|pod| is_tracked(pod));
        let tracked = tracked.map(|pod| uid(pod)).collect();
        tally.succeeded.settle(&tracked);
        tally.failed.settle(&tracked);
        for pod in pods.iter().filter(|pod| is_tracked(pod)) {
            if tally.is_noted(pod) {
                tally.untrack.push(PodRef::to(pod));
            } else if has_succeeded(pod) {
                tally.note_success(pod, now);
            } else if has_failed(pod)
                || shape.replacement == Replacement::WhenTerminating && is_terminating(pod)
            {
                tally.note_failure(pod, now);
            }
        }
        tally
    }

    /// Counts what has not ended as failed, as the Job ends; not what was discarded.
    pub(super) fn count_rest_as_failed(&mut self, discarded: &[PodRef], now: Timestamp) {
        let known = self.untrack.iter().chain(discarded);
        let known: BTreeSet<String> = known.map(|pod| pod.uid.clone()).collect();
        for pod in self.pods.iter().filter(|pod| is_tracked(pod)) {
            if !known.contains(uid(pod)) {
                self.note_failure(pod, now);
            }
        }
    }

    /// Lets go of every pod, as the Job succeeded or is itself being deleted: nobody waits for the
    /// ends of the rest.
    pub(super) fn untrack_all(&mut self) {
        let tracked = self.pods.iter().filter(|pod| is_tracked(pod));
        self.untrack = tracked.map(|pod| PodRef::to(pod)).collect();
    }

    pub(super) fn pods(&self) -> &'a [&'a Pod] {
        self.pods
    }

    pub(super) fn successes(&self) -> usize {
        if self.shape.indexed {
            self.indexes.len()
        } else {
            self.succeeded.total()
        }
    }

    pub(super) fn failures(&self) -> usize {
        self.failed.total()
    }

    /// Whether every end is counted for good.
    pub(super) fn is_settled(&self) -> bool {
        self.succeeded.noted.is_empty() && self.failed.noted.is_empty() && self.untrack.is_empty()
    }

    pub(super) fn write(&self, status: &mut JobStatus) {
        let count = |count: usize| Some(i32::try_from(count).unwrap_or(i32::MAX));
        let noted = |ended: &Ended| Some(ended.noted.clone()).filter(|noted| !noted.is_empty());
        status.failed = count(self.failed.counted).filter(|count| *count > 0);
        status.succeeded = if self.shape.indexed {
            status.completed_indexes =
                Some(self.indexes.to_string()).filter(|text| !text.is_empty());
            count(self.indexes.len())
        } else {
            count(self.succeeded.counted)
        };
        status.succeeded = status.succeeded.filter(|count| *count > 0);
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            failed: noted(&self.failed),
            succeeded: noted(&self.succeeded),
        });
    }

    fn is_noted(&self, pod: &Pod) -> bool {
        let mut noted = self.succeeded.noted.iter().chain(&self.failed.noted);
        noted.any(|noted| noted == uid(pod))
    }

    fn note_success(&mut self, pod: &Pod, now: Timestamp) {
        let new = if self.shape.indexed {
            let index = index(pod, self.shape.index_limit());
            index.is_some_and(|index| self.indexes.insert(index))
        } else {
            self.succeeded.noted.push(uid(pod).to_owned());
            true
        };
        if new {
            self.news.push(End {
                at: ended_at(pod, now),
                succeeded: true,
            });
        }
        self.untrack.push(PodRef::to(pod));
    }

    fn note_failure(&mut self, pod: &Pod, now: Timestamp) {
        self.failed.noted.push(uid(pod).to_owned());
        self.news.push(End {
            at: ended_at(pod, now),
            succeeded: false,
        });
        self.untrack.push(PodRef::to(pod));
    }
}
