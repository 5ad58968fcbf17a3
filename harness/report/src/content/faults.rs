//! The faults as they were observed, with the evidence for both ends.

use std::time::Duration;

use holdfast_core::event::FaultAction;
use holdfast_core::record::{FaultRecord, Record};

use super::evidence;
use crate::words;

/// One fault in words. Times are since the start of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FaultWords {
    /// The step's name.
    pub(crate) name: String,
    /// What was done to which object.
    pub(crate) what: String,
    /// When it took effect and what proved it.
    pub(crate) injected: String,
    /// When it was undone and what proved it.
    pub(crate) recovered: String,
    /// How it can be undone.
    pub(crate) undo: String,
    /// What went wrong.
    pub(crate) errors: Vec<String>,
}

/// Every fault that the record knows of, in order of their undo records, then the planned ones
/// that the run did not reach.
pub(crate) fn faults(record: &Record) -> Vec<FaultWords> {
    let known = record.faults.iter().map(|fault| words_of(record, fault));
    let missed = record.run.plan.faults.iter().filter(|planned| {
        let mut known = record.faults.iter();
        known.all(|fault| fault.name != planned.name)
    });
    let missed = missed.map(|planned| FaultWords {
        name: planned.name.clone(),
        what: planned.fault.describe(),
        injected: "not reached".to_owned(),
        recovered: "nothing to undo".to_owned(),
        undo: String::new(),
        errors: Vec::new(),
    });
    known.chain(missed).collect()
}

/// What is not as it was before the faults; nothing if there were none, or the run did not get as far
/// as to look.
pub(crate) fn left_behind(record: &Record) -> Option<String> {
    if record.faults.is_empty() || !record.finished {
        return None;
    }
    Some(if record.residue.is_empty() {
        "nothing: at the end, whatever was touched is as it was before".to_owned()
    } else {
        record.residue.join("; ")
    })
}

fn words_of(record: &Record, fault: &FaultRecord) -> FaultWords {
    let planned = record.run.plan.faults.iter();
    let what = planned
        .filter(|planned| planned.name == fault.name)
        .map(|planned| planned.fault.describe())
        .next()
        .unwrap_or_default();
    FaultWords {
        name: fault.name.clone(),
        what,
        injected: end(record, fault.injected, &fault.injected_evidence),
        recovered: end(record, fault.recovered, &fault.recovered_evidence),
        undo: words::one_line(&fault.undo),
        errors: fault
            .errors
            .iter()
            .map(|error| {
                let action = match error.action {
                    FaultAction::Inject => "injecting",
                    FaultAction::Recover => "undoing",
                };
                format!("{action}: {}", evidence::in_words(&error.error))
            })
            .collect(),
    }
}

fn end(record: &Record, at: Option<Duration>, evidence: &str) -> String {
    match at {
        None => "not observed".to_owned(),
        Some(at) => format!(
            "at {}: {}",
            words::moment(since_load_start(record, at)),
            evidence::in_words(evidence)
        ),
    }
}

/// A time since the start of the run as seconds since the start of the load; negative before it.
pub(crate) fn since_load_start(record: &Record, at: Duration) -> f64 {
    at.as_secs_f64() - record.load_started.unwrap_or_default().as_secs_f64()
}
