//! Did the service hold? One reason per objective, and the exit code.

use serde::{Deserialize, Serialize};

use crate::event::{FaultAction, StopCause};
use crate::evidence;
use crate::experiment::{Objective, Phase};
use crate::record::Record;
use crate::summary::{Summary, summarize};

mod invariants;
mod objective;

/// Judges a run. What is gravest decides, in this order:
///
/// 1. something could not be put back: [`Outcome::NotReverted`];
/// 2. a person or the system ended the run: [`Outcome::Interrupted`], [`Outcome::Terminated`];
/// 3. a stop condition or a halt ended it: [`Outcome::Aborted`];
/// 4. the run could not be carried out or measured: [`Outcome::Inconclusive`];
/// 5. an objective was not met or an invariant is violated: [`Outcome::Failed`], also when another
///    one cannot be judged, because no further measurement would make the run pass;
/// 6. an objective or invariant cannot be judged, or an experiment has none:
///    [`Outcome::Inconclusive`];
/// 7. [`Outcome::Passed`], or [`Outcome::Measured`] where nothing was asked.
///
/// In the first four cases no objective counts as met or not: the values describe another run
/// than the one that was asked for.
#[must_use]
pub fn judge(record: &Record, summary: &Summary) -> Verdict {
    let mut objectives: Vec<Judged> = record
        .run
        .plan
        .objectives
        .iter()
        .map(|wanted| objective::judge(wanted, record, summary))
        .collect();
    let mut invariants = invariants::judge(record);
    let mut causes = not_reverted(record);
    causes.extend(ended_early(record));
    causes.extend(
        not_carried_out(record, summary)
            .into_iter()
            .map(|reason| (Outcome::Inconclusive, reason)),
    );
    if let Some((outcome, _)) = causes.first() {
        let outcome = *outcome;
        for judged in &mut objectives {
            judged.met = None;
        }
        for judged in &mut invariants {
            judged.held = None;
        }
        return Verdict {
            outcome,
            reasons: causes.into_iter().map(|(_, reason)| reason).collect(),
            objectives,
            invariants,
        };
    }
    let of_objectives = objectives.iter().map(|judged| (judged.met, &judged.text));
    let of_invariants = invariants.iter().map(|judged| (judged.held, &judged.text));
    let judged: Vec<_> = of_objectives.chain(of_invariants).collect();
    let (outcome, reasons) = if judged.is_empty() {
        without_objective(record)
    } else {
        weigh(&judged)
    };
    Verdict {
        outcome,
        reasons,
        objectives,
        invariants,
    }
}

fn not_reverted(record: &Record) -> Vec<(Outcome, String)> {
    let mut reasons: Vec<String> = record
        .residue
        .iter()
        .map(|line| format!("not put back: {line}"))
        .collect();
    for fault in record.faults.iter().filter(|f| f.recovered.is_none()) {
        let mut errors = fault.errors.iter();
        let last = errors.rfind(|error| error.action == FaultAction::Recover);
        if let Some(error) = last {
            reasons.push(format!(
                "the fault {} could not be undone: {}",
                fault.name, error.error
            ));
        } else if fault.injected.is_some() || !record.finished {
            // Of a run that broke off nobody knows how far the injection had come.
            reasons.push(format!(
                "the fault {} is not known to be undone; undo: {}",
                fault.name, fault.undo
            ));
        }
    }
    let outcome = Outcome::NotReverted;
    reasons
        .into_iter()
        .map(|reason| (outcome, reason))
        .collect()
}

fn ended_early(record: &Record) -> Option<(Outcome, String)> {
    Some(match record.stopped.as_ref()? {
        StopCause::Interrupted => (Outcome::Interrupted, "interrupted by Ctrl-C".to_owned()),
        StopCause::Terminated => (Outcome::Terminated, "terminated by SIGTERM".to_owned()),
        StopCause::StopCondition(words) => (Outcome::Aborted, format!("stop condition: {words}")),
        StopCause::Halted(words) => (Outcome::Aborted, format!("halted: {words}")),
        StopCause::BaselineUnmet(words) => (
            Outcome::Inconclusive,
            format!("nothing was broken, because the baseline was not met: {words}"),
        ),
        StopCause::FaultFailed(words) => (
            Outcome::Inconclusive,
            format!("a fault could not be injected: {words}"),
        ),
        StopCause::LoadFailed(words) => (
            Outcome::Inconclusive,
            format!("the load could not be carried out: {words}"),
        ),
    })
}

/// Why the run does not say what it was meant to say.
fn not_carried_out(record: &Record, summary: &Summary) -> Vec<String> {
    let mut reasons = Vec::new();
    if !record.finished {
        reasons.push("the run did not finish".to_owned());
    }
    for planned in &record.run.plan.faults {
        let observed = record
            .faults
            .iter()
            .find(|fault| fault.name == planned.name);
        let name = &planned.name;
        match observed.filter(|fault| fault.injected.is_some()) {
            None => reasons.push(format!("the fault {name} was never in effect")),
            Some(fault) if fault.injected_evidence.trim().is_empty() => {
                reasons.push(format!(
                    "nothing proves that the fault {name} was in effect"
                ));
            }
            Some(fault) if let Some(why) = evidence::early_end(&fault.recovered_evidence) => {
                reasons.push(format!("the fault {name} ended early: {why}"));
            }
            Some(fault) if evidence::connections(&fault.recovered_evidence) == Some(0) => {
                reasons.push(format!(
                    "nothing felt the fault {name}: its proxy saw 0 connections"
                ));
            }
            Some(_) => {}
        }
    }
    let count = summary.workers.len();
    for worker in &summary.workers {
        if let Some(words) = &worker.lost {
            let index = worker.index;
            reasons.push(format!("worker {index} of {count} was lost: {words}"));
        }
    }
    let problems = summary.self_check.problems.iter();
    reasons.extend(problems.map(|problem| format!("invalid: {problem}")));
    let accounting = &summary.accounting;
    if !accounting.holds {
        reasons.push(format!(
            "invalid: requests do not add up: {} scheduled, {} sent, {} dropped; {} expected, \
             {} unexpected, {} cut off",
            accounting.scheduled,
            accounting.sent,
            accounting.dropped,
            accounting.expected,
            accounting.unexpected,
            accounting.cut_off
        ));
    }
    reasons
}

/// An experiment that asks nothing is a mistake; a measurement without one need not ask.
fn without_objective(record: &Record) -> (Outcome, Vec<String>) {
    let has_experiment = !record.run.source_file.is_empty();
    let (outcome, reason) = if has_experiment {
        let reason = "no objective: the experiment asks nothing";
        (Outcome::Inconclusive, reason)
    } else {
        (Outcome::Measured, "no threshold was given")
    };
    (outcome, vec![reason.to_owned()])
}

/// Whether each demand was met, with its line.
fn weigh(judged: &[(Option<bool>, &String)]) -> (Outcome, Vec<String>) {
    let texts = |met: Option<bool>| {
        let those = judged.iter().filter(move |(this, _)| *this == met);
        those.map(|(_, text)| (*text).clone())
    };
    let failed = texts(Some(false)).count();
    let open = texts(None).count();
    let outcome = if failed > 0 {
        Outcome::Failed
    } else if open > 0 {
        Outcome::Inconclusive
    } else {
        Outcome::Passed
    };
    let reasons = if outcome == Outcome::Passed {
        texts(Some(true)).collect()
    } else {
        texts(Some(false)).chain(texts(None)).collect()
    };
    (outcome, reasons)
}

/// What the experiment asks of the baseline and did not get, as far as the run has come: nothing
/// may be broken then, because nothing would be learned. `None`: all is well.
#[must_use]
pub fn baseline_unmet(record: &Record) -> Option<String> {
    let wanted = record.run.plan.objectives.iter();
    let mut wanted = wanted
        .filter(|objective| objective.during == [Phase::Baseline])
        .peekable();
    wanted.peek()?;
    let summary = summarize(record);
    let unmet: Vec<String> = wanted
        .map(|objective| objective::judge(objective, record, &summary))
        .filter(|judged| judged.met != Some(true))
        .map(|judged| judged.text)
        .collect();
    (!unmet.is_empty()).then(|| unmet.join("; "))
}

/// The judgement of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// In one word.
    pub outcome: Outcome,
    /// One line per reason, the gravest first; never empty.
    pub reasons: Vec<String>,
    /// Every objective with what was measured.
    pub objectives: Vec<Judged>,
    /// Every invariant with what was answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invariants: Vec<JudgedInvariant>,
}

/// A verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Every objective was met.
    Passed,
    /// Nothing was asked of a measurement, and its figures are valid.
    Measured,
    /// At least one objective was not met.
    Failed,
    /// The run says nothing either way.
    Inconclusive,
    /// A stop condition or a halt ended the run.
    Aborted,
    /// A person or the system ended the run.
    Interrupted,
    /// As `Interrupted`, by SIGTERM.
    Terminated,
    /// Something that was broken could not be put back.
    NotReverted,
}

impl Outcome {
    /// The process exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed | Self::Measured => 0,
            Self::Failed => 1,
            Self::Inconclusive => 3,
            Self::Aborted => 4,
            Self::NotReverted => 5,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

/// One objective and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// What was asked.
    pub objective: Objective,
    /// The metric's value in its own unit.
    pub measured: Option<f64>,
    /// Requests the value rests on.
    pub requests: u64,
    /// Whether it was met; `None`: cannot be said, of the objective or of the whole run.
    pub met: Option<bool>,
    /// One line for people: metric, windows, value, bound.
    pub text: String,
}

/// One invariant and what was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgedInvariant {
    /// Its name.
    pub name: String,
    /// Whether it held; `None`: cannot be said, of the invariant or of the whole run.
    pub held: Option<bool>,
    /// What was found, and when, without the name.
    pub found: String,
    /// One line for people: the name and what was found.
    pub text: String,
}
