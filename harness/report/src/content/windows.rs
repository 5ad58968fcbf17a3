//! The windows of the run as observed, and what failed in each.

use std::collections::BTreeSet;

use holdfast_core::outcome::{Reason, Source};
use holdfast_core::summary::{Measured, Summary};

use super::{Align, Table};
use crate::words;

/// One row per window and source, then the whole run.
pub(crate) fn windows_table(summary: &Summary) -> Table {
    let mut table = Table::new([
        ("window", Align::Left),
        ("observed", Align::Right),
        ("source", Align::Left),
        ("requests", Align::Right),
        ("availability", Align::Right),
        ("95 % interval", Align::Right),
        ("goodput", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
    ]);
    for window in &summary.windows {
        let observed = words::span(window.start, window.end);
        let phase = window.phase.name();
        table.rows.push(row(
            phase,
            &observed,
            words::source(Source::Users),
            &window.users,
        ));
        if let Some(prober) = &window.prober {
            table
                .rows
                .push(row(phase, &observed, words::source(Source::Prober), prober));
        }
    }
    let whole = words::span(0.0, summary.self_check.load_seconds);
    table.rows.push(row(
        "whole run",
        &whole,
        words::source(Source::Users),
        &summary.users,
    ));
    if let Some(prober) = &summary.prober {
        table.rows.push(row(
            "whole run",
            &whole,
            words::source(Source::Prober),
            prober,
        ));
    }
    table
}

fn row(window: &str, observed: &str, source: &str, measured: &Measured) -> Vec<String> {
    vec![
        window.to_owned(),
        observed.to_owned(),
        source.to_owned(),
        measured.requests.to_string(),
        words::percent_or_none(measured.availability),
        words::interval(measured.availability_interval),
        words::rate_or_none(measured.goodput),
        words::seconds_or_none(measured.latency_expected.p50),
        words::seconds_or_none(measured.latency_expected.p99),
    ]
}

/// The load's failures by reason and window, most frequent first, with both sources' totals.
/// `None` when nothing failed.
pub(crate) fn reasons_table(summary: &Summary) -> Option<Table> {
    let none = Measured::default();
    let prober = summary.prober.as_ref().unwrap_or(&none);
    let mut head = vec![("reason", Align::Left)];
    let phases = summary.windows.iter();
    head.extend(phases.map(|window| (window.phase.name(), Align::Right)));
    head.push((words::source(Source::Users), Align::Right));
    if summary.prober.is_some() {
        head.push(("prober", Align::Right));
    }
    let mut table = Table::new(head);
    for reason in ranked_reasons(summary) {
        let count = |measured: &Measured| measured.unexpected.get(&reason).copied().unwrap_or(0);
        table
            .rows
            .push(reason_row(reason.label(), summary, prober, count));
    }
    if summary.users.cut_off + prober.cut_off > 0 {
        let count = |measured: &Measured| measured.cut_off;
        table
            .rows
            .push(reason_row("cut off at the end", summary, prober, count));
    }
    (!table.rows.is_empty()).then_some(table)
}

fn reason_row(
    label: &str,
    summary: &Summary,
    prober: &Measured,
    count: impl Fn(&Measured) -> u64,
) -> Vec<String> {
    let mut row = vec![label.to_owned()];
    let windows = summary.windows.iter();
    row.extend(windows.map(|window| count(&window.users).to_string()));
    row.push(count(&summary.users).to_string());
    if summary.prober.is_some() {
        row.push(count(prober).to_string());
    }
    row
}

/// Every reason that occurred: the load's most frequent first, then what only the prober saw.
pub(crate) fn ranked_reasons(summary: &Summary) -> Vec<Reason> {
    let users = &summary.users.unexpected;
    let prober = summary.prober.iter().flat_map(|prober| &prober.unexpected);
    let occurred: BTreeSet<Reason> = users
        .iter()
        .chain(prober)
        .filter(|(_, count)| **count > 0)
        .map(|(reason, _)| *reason)
        .collect();
    let mut ranked: Vec<Reason> = occurred.into_iter().collect();
    ranked.sort_by_key(|reason| std::cmp::Reverse(users.get(reason).copied().unwrap_or(0)));
    ranked
}
