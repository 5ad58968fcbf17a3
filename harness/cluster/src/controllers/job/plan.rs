//! Deciding what a Job needs next. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::back_off::BackOff;
use super::ending::{Ending, finished_at, set_suspended};
use super::pods::{PodRef, index, is_terminating, restarts, uid};
use super::shape::{Replacement, Shape};
use super::tally::Tally;
use crate::controllers::earlier;
use crate::controllers::replica_set::{is_active, ready_condition, victims};
use crate::events::Severity;

/// How many pods are started or deleted at a time.
const MOST_AT_ONCE: usize = 500;

/// What to do for one Job, in this order.
#[derive(Default, Debug)]
pub(super) struct Plan {
    /// Pods which are no longer wanted, and whose end does not count.
    pub(super) discard: Vec<PodRef>,
    /// Pods which go because the Job ends.
    pub(super) end: Vec<PodRef>,
    /// A pod each, for an index or none.
    pub(super) create: Vec<Option<u32>>,
    pub(super) status: JobStatus,
    /// Pods whose end the status now accounts for.
    pub(super) untrack: Vec<PodRef>,
    pub(super) announce: Vec<(Severity, String, String)>,
    /// The Job has been over for long enough.
    pub(super) expired: bool,
    pub(super) back_off: BackOff,
    pub(super) again: Option<Duration>,
}

/// Decides what to do, given the pods which the Job controls.
pub(super) fn plan(
    job: &Job,
    shape: &Shape,
    pods: &[&Pod],
    back_off: BackOff,
    now: Timestamp,
) -> Plan {
    let status = job.status.clone().unwrap_or_default();
    let mut tally = Tally::of(shape, &status, pods, now);
    let mut plan = Plan {
        status,
        back_off: back_off.after(&tally.news),
        ..Plan::default()
    };
    if let Some(end) = finished_at(&plan.status) {
        tally.untrack_all();
        plan.untrack = tally.untrack;
        plan.expire(shape, end, now);
        return plan;
    }
    let active: Vec<&Pod> = pods.iter().copied().filter(|pod| is_active(pod)).collect();
    if job.metadata.deletion_timestamp.is_some() {
        tally.untrack_all();
        plan.count_pods(pods, &active, active.len());
    } else {
        plan.start(shape, now);
        plan.run(shape, &mut tally, &active, now);
    }
    tally.write(&mut plan.status);
    plan.untrack = tally.untrack;
    plan
}

impl Plan {
    fn expire(&mut self, shape: &Shape, end: Timestamp, now: Timestamp) {
        let Some(time_to_live) = shape.time_to_live else {
            return;
        };
        let expiry = end.checked_add(time_to_live).unwrap_or(Timestamp::MAX);
        self.wait_until(expiry, now);
        self.expired = self.again.is_none();
    }

    /// Looks again at a time to come.
    fn wait_until(&mut self, time: Timestamp, now: Timestamp) {
        let left = Duration::try_from(time.duration_since(now)).ok();
        self.again = earlier(self.again, left.filter(|left| !left.is_zero()));
    }

    fn start(&mut self, shape: &Shape, now: Timestamp) {
        if set_suspended(&mut self.status, shape.suspended, now) {
            let (reason, message) = match shape.suspended {
                true => ("Suspended", "Job suspended"),
                false => ("Resumed", "Job resumed"),
            };
            self.announce(Severity::Normal, reason, message);
            // The deadline must not pass while nothing may run.
            if !shape.suspended {
                self.status.start_time = Some(Time(now));
            }
        }
        if self.status.start_time.is_none() && !shape.suspended {
            self.status.start_time = Some(Time(now));
        }
    }

    fn announce(&mut self, severity: Severity, reason: &str, message: &str) {
        self.announce
            .push((severity, reason.to_owned(), message.to_owned()));
    }

    fn run(&mut self, shape: &Shape, tally: &mut Tally, active: &[&Pod], now: Timestamp) {
        let decided = Ending::decided(&self.status);
        let ending = decided.or_else(|| self.failure(shape, tally, active, now));
        let ending = match ending {
            Some(ending) => {
                self.end = active.iter().map(|pod| PodRef::to(pod)).collect();
                Some(ending)
            }
            None => {
                self.balance(shape, tally, active, now);
                self.success(shape, tally, active)
            }
        };
        let pods = tally.pods();
        let left = active.len() - self.discard.len() - self.end.len() + self.create.len();
        if let Some(ending) = ending {
            match ending.success {
                true => tally.untrack_all(),
                false => tally.count_rest_as_failed(&self.discard, now),
            }
            ending.decide(&mut self.status, now);
            let running = active.len() + pods.iter().filter(|pod| is_terminating(pod)).count();
            if running == 0 && tally.is_settled() {
                self.finish(&ending, now);
            }
        }
        self.count_pods(pods, active, left);
    }

    fn failure(
        &mut self,
        shape: &Shape,
        tally: &Tally,
        active: &[&Pod],
        now: Timestamp,
    ) -> Option<Ending> {
        let allowed = shape.failures_allowed;
        let restarts: u32 = active.iter().map(|pod| restarts(pod)).sum();
        let too_many_restarts = restarts > 0 && restarts >= allowed;
        if tally.failures() > allowed as usize || too_many_restarts {
            return Some(Ending::backoff_limit_exceeded());
        }
        let start = self.status.start_time.as_ref()?.0;
        let allowed_time = shape.active_deadline.filter(|_| !shape.suspended)?;
        let deadline = start.checked_add(allowed_time).unwrap_or(Timestamp::MAX);
        if deadline <= now {
            return Some(Ending::deadline_exceeded());
        }
        self.wait_until(deadline, now);
        None
    }

    /// Starts pods that are missing or discards those too many, never both at once.
    fn balance(&mut self, shape: &Shape, tally: &Tally, active: &[&Pod], now: Timestamp) {
        let wanted = wanted(shape, tally, active.len());
        self.discard = surplus(shape, active, wanted, now);
        if !self.discard.is_empty() || shape.suspended {
            return;
        }
        let terminating = match shape.replacement {
            Replacement::WhenTerminating => 0,
            Replacement::WhenEnded => tally
                .pods()
                .iter()
                .filter(|pod| is_terminating(pod))
                .count(),
        };
        let missing = wanted.saturating_sub(active.len() + terminating);
        if missing == 0 {
            return;
        }
        if let Some(left) = self.back_off.remaining(now) {
            self.again = earlier(self.again, Some(left));
            return;
        }
        let missing = missing.min(MOST_AT_ONCE);
        self.create = if shape.indexed {
            let free = free_indexes(shape, tally);
            free.take(missing).map(Some).collect()
        } else {
            vec![None; missing]
        };
    }

    fn success(&self, shape: &Shape, tally: &Tally, active: &[&Pod]) -> Option<Ending> {
        let enough = match shape.completions {
            Some(completions) => tally.successes() >= completions as usize,
            None => tally.successes() > 0,
        };
        let left = active.len() - self.discard.len() + self.create.len();
        (enough && left == 0 && !shape.suspended).then(Ending::completions_reached)
    }

    fn finish(&mut self, ending: &Ending, now: Timestamp) {
        ending.finish(&mut self.status, now);
        match ending.success {
            true => self.announce(Severity::Normal, "Completed", "Job completed"),
            false => self.announce(Severity::Warning, &ending.reason, &ending.message),
        }
    }

    /// The pods there are now, `left` of them active when this plan is carried out.
    fn count_pods(&mut self, pods: &[&Pod], active: &[&Pod], left: usize) {
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let stays = |pod: &&&Pod| {
            let mut leaving = self.discard.iter().chain(&self.end);
            leaving.all(|leaving| leaving.uid != uid(pod))
        };
        let ready = active.iter().filter(stays);
        let ready = ready.filter(|pod| ready_condition(pod).is_some()).count();
        let terminating = pods.iter().filter(|pod| is_terminating(pod)).count();
        self.status.active = Some(count(left)).filter(|count| *count > 0);
        self.status.ready = Some(count(ready));
        self.status.terminating = Some(count(terminating));
    }
}

/// How many pods there should be.
fn wanted(shape: &Shape, tally: &Tally, active: usize) -> usize {
    let parallelism = shape.parallelism as usize;
    match shape.completions {
        _ if shape.suspended => 0,
        Some(completions) => (completions as usize)
            .saturating_sub(tally.successes())
            .min(parallelism),
        // One of the workers found the queue empty: the others end by themselves.
        None if tally.successes() > 0 => active,
        None => parallelism,
    }
}

/// Pods to give up: those whose index is nobody's or another's, then any.
fn surplus(shape: &Shape, active: &[&Pod], wanted: usize, now: Timestamp) -> Vec<PodRef> {
    let mut taken = BTreeSet::new();
    let (useful, mut useless): (Vec<&Pod>, Vec<&Pod>) = active.iter().partition(|pod| {
        !shape.indexed || index(pod, shape.index_limit()).is_some_and(|index| taken.insert(index))
    });
    let too_many = useful.len().saturating_sub(wanted);
    let chosen = victims::choose(&useful, too_many, now);
    let is_chosen = |pod: &&Pod| {
        chosen
            .iter()
            .any(|name| Some(name) == pod.metadata.name.as_ref())
    };
    useless.extend(useful.into_iter().filter(is_chosen));
    let pods = useless.into_iter().take(MOST_AT_ONCE);
    pods.map(PodRef::to).collect()
}

/// The indexes that have neither succeeded nor a pod at work.
fn free_indexes<'a>(shape: &'a Shape, tally: &'a Tally) -> impl Iterator<Item = u32> + 'a {
    let holds = |pod: &&&Pod| {
        is_active(pod) || shape.replacement == Replacement::WhenEnded && is_terminating(pod)
    };
    let holders = tally.pods().iter().filter(holds);
    let held: BTreeSet<u32> = holders
        .filter_map(|pod| index(pod, shape.index_limit()))
        .collect();
    (0..shape.index_limit())
        .filter(move |index| !held.contains(index) && !tally.indexes.contains(*index))
}
