//! What was promised, and whether the figures can be trusted: objectives, accounting, self-check.

use holdfast_core::event::Used;
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

/// The reasons that are about neither an objective nor an invariant.
pub(crate) fn other_reasons(verdict: &Verdict) -> impl Iterator<Item = &String> {
    let objectives = verdict.objectives.iter().map(|judged| &judged.text);
    let invariants = verdict.invariants.iter().map(|judged| &judged.text);
    let told: Vec<&String> = objectives.chain(invariants).collect();
    let reasons = verdict.reasons.iter();
    reasons.filter(move |reason| !told.contains(reason))
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

/// The redirects that were followed, when any were.
pub(crate) fn hops_line(hops: u64) -> Option<String> {
    let followed = words::counted(hops, "redirect was", "redirects were");
    (hops > 0).then(|| format!("{followed} followed besides; they are no requests of their own"))
}

/// Whether the accounting identity holds.
pub(crate) fn equations_line(accounting: &Accounting) -> &'static str {
    if accounting.holds {
        "both equations hold"
    } else {
        "THE EQUATIONS DO NOT HOLD: some requests are unaccounted for"
    }
}

/// What the load generator says about itself, as names and values; what was not asked of it is left
/// out.
pub(crate) fn self_check_rows(check: &SelfCheck) -> Vec<(&'static str, String)> {
    let mut rows = vec![("scheduling lag, p99", words::seconds_or_none(check.lag_p99))];
    if let (Some(p50), Some(p99)) = (check.send_lag_p50, check.send_lag_p99) {
        let lag = format!("p50 {}, p99 {}", words::seconds(p50), words::seconds(p99));
        rows.push(("sent later than intended", lag));
    }
    rows.extend([
        (
            "processor time of the senders",
            check.cpu_percent.map_or_else(
                || words::NOT_MEASURED.to_owned(),
                |share| {
                    format!(
                        "{} (a single one runs the local cluster too)",
                        words::percent(share)
                    )
                },
            ),
        ),
        ("the sending thread ran", sender_line(check)),
    ]);
    if check.throttled_seconds > 0.0 {
        let throttled = words::seconds(check.throttled_seconds);
        rows.push(("stopped by a processor quota", throttled));
    }
    if let Some(Used { most, of }) = check.descriptors {
        rows.push(("file descriptors, at most", format!("{most} of {of}")));
    }
    if let Some(Used { most, of }) = check.ports {
        let sockets = format!("{most} on this machine; {of} local ports for one destination");
        rows.push(("TCP sockets, at most", sockets));
    }
    if let Some(rate) = check.calibrated_rate {
        let tried = format!("{} against a server that does nothing", words::rate(rate));
        rows.push(("tried before the load", tried));
    }
    rows.extend([
        (
            "failures caused by the generator",
            check.client_side_failures.to_string(),
        ),
        (
            "saturated seconds",
            format!("{} of {:.0}", check.saturated_seconds, check.load_seconds),
        ),
        ("Little's law", little_line(check)),
    ]);
    rows
}

fn sender_line(check: &SelfCheck) -> String {
    let waited = match check.starved_seconds {
        Some(starved) => format!(
            ", and waited {} for a processor in all",
            words::seconds(starved)
        ),
        None => String::new(),
    };
    match check.sender_percent {
        Some(share) => format!("{} of the time{waited}", words::percent(share)),
        None => words::NOT_MEASURED.to_owned(),
    }
}

fn little_line(check: &SelfCheck) -> String {
    let number = |value: Option<f64>| {
        value.map_or_else(
            || words::NOT_MEASURED.to_owned(),
            |value| format!("{value:.2}"),
        )
    };
    format!(
        "{} requests or pauses under way by counting, {} by rate × response time",
        number(check.little_measured),
        number(check.little_expected)
    )
}

/// Whether the figures can be the service's, in one line.
pub(crate) fn self_check_line(check: &SelfCheck) -> &'static str {
    if check.valid {
        "valid: the load generator did not distort the figures"
    } else {
        "INVALID: the figures may be the load generator's, not the service's"
    }
}
