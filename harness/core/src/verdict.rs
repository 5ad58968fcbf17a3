//! Did the service hold? One reason per objective, and the exit code.

use serde::{Deserialize, Serialize};

use crate::experiment::Objective;

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
}

/// A verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Every objective was met.
    Passed,
    /// At least one was not.
    Failed,
    /// The run says nothing either way.
    Inconclusive,
    /// A stop condition ended the run.
    Aborted,
    /// A person or the system ended the run.
    Interrupted,
    /// As `Interrupted`, by SIGTERM.
    Terminated,
    /// Something that was broken could not be put back.
    NotReverted,
}

impl Outcome {
    /// The process exit code of `holdfast run`.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
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
    /// Whether it was met; `None`: cannot be said.
    pub met: Option<bool>,
    /// One line for people: metric, windows, value, bound.
    pub text: String,
}
