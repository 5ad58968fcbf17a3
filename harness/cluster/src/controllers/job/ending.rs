//! Why and how far a Job has ended, as its conditions tell it.
//!
//! First comes the decision (`FailureTarget`, `SuccessCriteriaMet`); when no pod runs any more, the
//! end itself (`Failed`, `Complete`), with the same reason.

use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) success: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Ending {
    pub(super) fn completions_reached() -> Self {
        Self {
            success: true,
            reason: "CompletionsReached".to_owned(),
            message: "Reached expected number of succeeded pods".to_owned(),
        }
    }

    pub(super) fn backoff_limit_exceeded() -> Self {
        Self {
            success: false,
            reason: "BackoffLimitExceeded".to_owned(),
            message: "Job has reached the specified backoff limit".to_owned(),
        }
    }

    pub(super) fn deadline_exceeded() -> Self {
        Self {
            success: false,
            reason: "DeadlineExceeded".to_owned(),
            message: "Job was active longer than specified deadline".to_owned(),
        }
    }

    /// What was decided earlier.
    pub(super) fn decided(status: &JobStatus) -> Option<Self> {
        [("FailureTarget", false), ("SuccessCriteriaMet", true)]
            .into_iter()
            .find_map(|(type_, success)| {
                let condition = find(status, type_)?;
                Some(Self {
                    success,
                    reason: condition.reason.clone().unwrap_or_default(),
                    message: condition.message.clone().unwrap_or_default(),
                })
            })
    }

    pub(super) fn decide(&self, status: &mut JobStatus, now: Timestamp) {
        let type_ = match self.success {
            true => "SuccessCriteriaMet",
            false => "FailureTarget",
        };
        if find(status, type_).is_none() {
            add(status, type_, &self.reason, &self.message, now);
        }
    }

    pub(super) fn finish(&self, status: &mut JobStatus, now: Timestamp) {
        if self.success {
            add(status, "Complete", &self.reason, &self.message, now);
            status.completion_time = Some(Time(now));
        } else {
            add(status, "Failed", &self.reason, &self.message, now);
        }
    }
}

/// When the Job ended; nothing while it goes on.
pub(super) fn finished_at(status: &JobStatus) -> Option<Timestamp> {
    let condition = find(status, "Complete").or_else(|| find(status, "Failed"))?;
    Some(condition.last_transition_time.as_ref()?.0)
}

/// Writes whether the Job is suspended, and tells whether that is new.
pub(super) fn set_suspended(status: &mut JobStatus, suspended: bool, now: Timestamp) -> bool {
    let (value, reason, message) = match suspended {
        true => ("True", "JobSuspended", "Job suspended"),
        false => ("False", "JobResumed", "Job resumed"),
    };
    let new = condition("Suspended", value, reason, message, now);
    let mut conditions = status.conditions.iter_mut().flatten();
    match conditions.find(|found| found.type_ == new.type_) {
        Some(found) if found.status == new.status => false,
        Some(found) => {
            *found = new;
            true
        }
        None if suspended => {
            status.conditions.get_or_insert_default().push(new);
            true
        }
        None => false,
    }
}

fn find<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == type_ && condition.status == "True")
}

fn add(status: &mut JobStatus, type_: &str, reason: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    conditions.push(condition(type_, "True", reason, message, now));
}

fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> JobCondition {
    JobCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}
