//! The record of a run: its events folded. Versioned JSON; every figure of every report can be
//! computed again from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::seconds;
use crate::event::{
    Event, FaultAction, LoadFinished, Observation, RunStarted, Stamped, StopCause, Tick,
};
use crate::evidence::waited;
use crate::invariant::Checked;
use crate::outcome::FailedRequest;

/// The version of the record's schema; a reader refuses a newer one.
pub const RECORD_VERSION: u32 = 1;

/// Everything a run said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// See [`RECORD_VERSION`].
    pub record_version: u32,
    /// Who ran what, where, and the plan.
    pub run: RunStarted,
    /// When the load began, since the start of the run.
    #[serde(with = "seconds::option")]
    pub load_started: Option<Duration>,
    /// When the load stopped, since the start of the run.
    #[serde(with = "seconds::option")]
    pub load_stopped: Option<Duration>,
    /// Every second of every source, in order of arrival.
    pub ticks: Vec<Tick>,
    /// Failed requests kept one by one.
    pub failures: Vec<FailedRequest>,
    /// The load's own account; `None` when the run ended before it could be given.
    pub load: Option<LoadFinished>,
    /// The faults as they happened, in order of their undo records.
    pub faults: Vec<FaultRecord>,
    /// What was seen from outside.
    pub observations: Vec<Seen>,
    /// What became of the invariants that were asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invariants: Vec<Checked>,
    /// Why the run ended early.
    pub stopped: Option<StopCause>,
    /// What could not be put back.
    pub residue: Vec<String>,
    /// Whether the last event arrived.
    pub finished: bool,
}

/// An observation and when it was made, since the start of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Since the start of the run.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// What was seen.
    pub observation: Observation,
}

/// A fault as it happened. Times since the start of the run, observed, never planned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultRecord {
    /// The step's name.
    pub name: String,
    /// How it can be undone.
    pub undo: String,
    /// When its injection began: from here on it may have had an effect. `None` in records that
    /// do not say.
    #[serde(default, with = "seconds::option")]
    pub begun: Option<Duration>,
    /// When it was seen to be in effect.
    #[serde(with = "seconds::option")]
    pub injected: Option<Duration>,
    /// What proved that.
    pub injected_evidence: String,
    /// When it was undone; how long it took until pods were ready again, its evidence says.
    #[serde(with = "seconds::option")]
    pub recovered: Option<Duration>,
    /// What proved that.
    pub recovered_evidence: String,
    /// What went wrong, in order.
    pub errors: Vec<FaultError>,
}

/// A failed half of a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultError {
    /// Which half.
    pub action: FaultAction,
    /// The error's words.
    pub error: String,
}

impl Record {
    /// An empty record of the run that `run` announces.
    #[must_use]
    pub fn new(run: RunStarted) -> Self {
        Self {
            record_version: RECORD_VERSION,
            run,
            load_started: None,
            load_stopped: None,
            ticks: Vec::new(),
            failures: Vec::new(),
            load: None,
            faults: Vec::new(),
            observations: Vec::new(),
            invariants: Vec::new(),
            stopped: None,
            residue: Vec::new(),
            finished: false,
        }
    }

    /// Folds one event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        let at = stamped.at;
        match &stamped.event {
            Event::RunStarted(run) => self.run = (**run).clone(),
            Event::LoadStarted => self.load_started = Some(at),
            Event::Tick(tick) => {
                let mut tick = (**tick).clone();
                tick.latency_expected.pack();
                tick.latency_unexpected.pack();
                tick.response.pack();
                self.ticks.push(tick);
            }
            Event::RequestFailed(failed) => self.failures.push(failed.clone()),
            Event::LoadStopped => self.load_stopped = Some(at),
            Event::LoadFinished(load) => self.load = Some((**load).clone()),
            Event::PhaseStarted(_) => {}
            Event::UndoRecorded { fault, undo } => {
                let record = self.fault(fault);
                record.begun = Some(at);
                undo.clone_into(&mut record.undo);
            }
            Event::FaultInjected { fault, evidence } => {
                let record = self.fault(fault);
                record.injected = Some(at);
                evidence.clone_into(&mut record.injected_evidence);
            }
            Event::FaultRecovered { fault, evidence } => {
                let record = self.fault(fault);
                // What it waited for after that is no part of undoing it.
                record.recovered = Some(at.saturating_sub(waited(evidence)));
                evidence.clone_into(&mut record.recovered_evidence);
            }
            Event::FaultFailed {
                fault,
                action,
                error,
            } => self.fault(fault).errors.push(FaultError {
                action: *action,
                error: error.clone(),
            }),
            Event::Observed(observation) => self.observations.push(Seen {
                at,
                observation: observation.clone(),
            }),
            Event::InvariantsChecked(checked) => self.invariants.push((**checked).clone()),
            // The first cause counts: what follows is its consequence.
            Event::Stopped(cause) => {
                self.stopped.get_or_insert_with(|| cause.clone());
            }
            Event::RunFinished { residue } => {
                self.residue.clone_from(residue);
                self.finished = true;
            }
        }
    }

    fn fault(&mut self, name: &str) -> &mut FaultRecord {
        let index = match self.faults.iter().position(|fault| fault.name == name) {
            Some(index) => index,
            None => {
                self.faults.push(FaultRecord {
                    name: name.to_owned(),
                    ..FaultRecord::default()
                });
                self.faults.len() - 1
            }
        };
        &mut self.faults[index]
    }
}
