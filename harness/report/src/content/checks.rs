//! What was promised, and whether the figures can be trusted: objectives, accounting, self-check.

use holdfast_core::summary::{Accounting, SelfCheck};
use holdfast_core::verdict::{Judged, Verdict};

use super::{Align, Table};
use crate::words;

/// One row per objective.
pub(crate) fn objectives_table(verdict: &Verdict) -> Table {
    let mut table = Table::new([
        ("result", Align::Left),
        ("objective", Align::Left),
        ("required", Align::Right),
        ("measured", Align::Right),
        ("requests", Align::Right),
    ]);
    for judged in &verdict.objectives {
        let measured = judged
            .measured
            .map(|value| words::metric_value(judged.objective.metric, value));
        table.rows.push(vec![
            result(judged).to_owned(),
            words::objective(&judged.objective),
            words::bounds(&judged.objective),
            measured.unwrap_or_else(|| words::NOT_MEASURED.to_owned()),
            judged.requests.to_string(),
        ]);
    }
    table
}

/// Whether an objective was met, in words.
pub(crate) fn result(judged: &Judged) -> &'static str {
    match judged.met {
        Some(true) => "✓ met",
        Some(false) => "✗ missed",
        None => "? cannot be said",
    }
}

/// The reasons that are not about an objective.
pub(crate) fn other_reasons(verdict: &Verdict) -> impl Iterator<Item = &String> {
    let of_objective = |reason: &String| {
        verdict
            .objectives
            .iter()
            .any(|judged| judged.text == *reason)
    };
    verdict
        .reasons
        .iter()
        .filter(move |reason| !of_objective(reason))
}

/// The accounting identity as two equations.
pub(crate) fn equations(accounting: &Accounting) -> [String; 2] {
    let a = accounting;
    [
        format!(
            "scheduled {} = sent {} + dropped {}",
            a.scheduled, a.sent, a.dropped
        ),
        format!(
            "sent {} = expected {} + unexpected {} + cut off {} (of these, drained {})",
            a.sent, a.expected, a.unexpected, a.cut_off, a.drained
        ),
    ]
}

/// Whether the accounting identity holds.
pub(crate) fn equations_line(accounting: &Accounting) -> &'static str {
    if accounting.holds {
        "both equations hold"
    } else {
        "THE EQUATIONS DO NOT HOLD: some requests are unaccounted for"
    }
}

/// What the load generator says about itself, as names and values.
pub(crate) fn self_check_rows(check: &SelfCheck) -> Vec<(&'static str, String)> {
    let number = |value: Option<f64>| {
        value.map_or_else(
            || words::NOT_MEASURED.to_owned(),
            |value| format!("{value:.2}"),
        )
    };
    vec![
        ("scheduling lag, p99", words::seconds_or_none(check.lag_p99)),
        (
            "processor time of this process",
            check.cpu_percent.map_or_else(
                || words::NOT_MEASURED.to_owned(),
                |share| format!("{} (generator and local cluster)", words::percent(share)),
            ),
        ),
        (
            "failures caused by the generator",
            check.client_side_failures.to_string(),
        ),
        (
            "saturated seconds",
            format!("{} of {:.0}", check.saturated_seconds, check.load_seconds),
        ),
        (
            "Little's law",
            format!(
                "{} users in a request by counting, {} by rate × response time",
                number(check.little_measured),
                number(check.little_expected)
            ),
        ),
    ]
}

/// Whether the figures can be the service's, in one line.
pub(crate) fn self_check_line(check: &SelfCheck) -> &'static str {
    if check.valid {
        "valid: the load generator did not distort the figures"
    } else {
        "INVALID: the figures may be the load generator's, not the service's"
    }
}
