//! JSON for programs: the record itself and the result that `--json` prints.

use holdfast_core::record::Record;
use holdfast_core::summary::Summary;
use holdfast_core::verdict::Verdict;
use serde::Serialize;

use crate::{Cause, Report};

/// The version of the result's schema; fields may be added within a version, never changed.
const RESULT_VERSION: u32 = 1;

/// The record as indented JSON, with a line feed at the end.
pub(crate) fn record_json(record: &Record) -> Result<String, Cause> {
    let mut text = serde_json::to_string_pretty(record)?;
    text.push('\n');
    Ok(text)
}

/// What a program learns from a run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunResult<'a> {
    /// See [`RESULT_VERSION`].
    result_version: u32,
    /// `<utc>-<short id>`.
    run_id: &'a str,
    /// The experiment's name.
    experiment: &'a str,
    /// RFC 3339, UTC.
    started_at: &'a str,
    /// The run's folder, as the caller wrote it.
    folder: &'a str,
    /// The process exit code that goes with the verdict.
    exit_code: u8,
    /// Outcome, reasons and every objective.
    verdict: &'a Verdict,
    /// Every figure, in the record's units: seconds, percent, per second; null: not measured.
    summary: &'a Summary,
    /// What could not be put back.
    residue: &'a [String],
}

/// The machine result of a run: one JSON object in camelCase on one line, with a line feed at the
/// end. `folder` is where the run's files are. Times are in seconds, availabilities in percent,
/// rates per second; `null` means that nothing was measured.
///
/// # Errors
///
/// When a figure is not a number JSON can hold.
pub fn result_json(report: &Report<'_>, folder: &str) -> Result<String, serde_json::Error> {
    let run = &report.record.run;
    let mut text = serde_json::to_string(&RunResult {
        result_version: RESULT_VERSION,
        run_id: &run.run_id,
        experiment: &run.plan.experiment,
        started_at: &run.started_at,
        folder,
        exit_code: report.verdict.outcome.exit_code(),
        verdict: report.verdict,
        summary: report.summary,
        residue: &report.record.residue,
    })?;
    text.push('\n');
    Ok(text)
}
