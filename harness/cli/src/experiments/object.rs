//! The object that stands for one experiment in a cluster: its spec is that of a file in
//! `experiments/`, its status says what has become of it.

use holdfast_core::verdict::Outcome;
use holdfast_report::Report;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tenancy::Made;

/// An experiment's `spec`, as in its file: only the format's own parser, which explains every
/// mistake, says what may stand in it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "Experiment",
    namespaced,
    doc = "A run of an experiment: the spec is that of an experiment file, the status its verdict.",
    status = "ExperimentStatus",
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Verdict", "type": "string", "jsonPath": ".status.verdict"}"#,
    printcolumn = r#"{"name": "Availability", "type": "number", "jsonPath": ".status.figures.siegeAvailability"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(transparent)]
pub(crate) struct ExperimentSpec(
    #[schemars(schema_with = "holdfast_faults::anything")] pub(crate) Value,
);

/// What has become of an experiment. A field without a value is written as null, so that it does not
/// keep what an earlier run has left in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ExperimentStatus {
    /// How far it is.
    pub(crate) phase: Phase,
    /// The generation of the spec that this is about.
    pub(crate) observed_generation: Option<i64>,
    /// The run; the name of its folder.
    pub(crate) run: Option<String>,
    /// What is to be undone should nobody be left who does it at the run's end.
    pub(crate) undo: Option<Undo>,
    /// Passed, failed, inconclusive …: as in the reports.
    pub(crate) verdict: Option<String>,
    /// What `holdfast run` would have ended with.
    pub(crate) exit_code: Option<i32>,
    /// The figures that matter most.
    pub(crate) figures: Option<Figures>,
    /// Why it ended as it did, one line each.
    pub(crate) reasons: Option<Vec<String>>,
    /// `Judged`: whether there is a verdict.
    pub(crate) conditions: Option<Vec<Condition>>,
    /// The folder with the report, where the controller is.
    pub(crate) report: Option<String>,
    /// RFC 3339, UTC.
    pub(crate) started_at: Option<String>,
    /// RFC 3339, UTC.
    pub(crate) finished_at: Option<String>,
}

/// What a run is about to do to the cluster, written before it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Undo {
    /// The namespace of its faults.
    pub(crate) namespace: String,
    /// The objects that it applies; removed is what carries the run's label.
    #[schemars(schema_with = "holdfast_faults::anything_many")]
    pub(crate) made: Vec<Made>,
}

/// How far an experiment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Phase {
    /// It waits for its turn: the condition says for whom.
    #[default]
    Pending,
    /// Under way, preparation included.
    Running,
    /// Over, with a verdict.
    Finished,
    /// It could not be carried out: the condition says why.
    Refused,
}

/// Figures of a run. Percentages; what was not measured has no value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Figures {
    /// As siege counts it.
    pub(crate) siege_availability: Option<f64>,
    /// Requests that ended as expected, of all that ended.
    pub(crate) strict_availability: Option<f64>,
    /// Requests of the users that ended.
    pub(crate) requests: Option<i64>,
    /// The prober's.
    pub(crate) prober_availability: Option<f64>,
}

/// A condition, in the words of the API's conventions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    /// Its name.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// `True`, `False`, or `Unknown` as long as it is to be judged.
    pub(crate) status: String,
    /// Why, in one word.
    pub(crate) reason: String,
    /// Why, for people.
    pub(crate) message: String,
    /// RFC 3339, UTC.
    pub(crate) last_transition_time: String,
    /// The generation of the spec that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
}

impl Figures {
    pub(crate) fn of(report: &Report<'_>) -> Self {
        let summary = report.summary;
        let measured = summary.users.requests > 0;
        Self {
            siege_availability: measured.then_some(summary.siege.availability),
            strict_availability: summary.users.availability,
            requests: i64::try_from(summary.users.requests).ok(),
            prober_availability: summary.prober.as_ref().and_then(|one| one.availability),
        }
    }
}

/// The word for a verdict.
pub(crate) fn word(outcome: Outcome) -> String {
    format!("{outcome:?}")
}
