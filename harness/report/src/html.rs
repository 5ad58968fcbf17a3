//! `report.html`: one page that works without scripts and without a network, in light and dark,
//! on a telephone and on paper. The template lays out; the words come from `content`, the plots
//! from the modules below.

use askama::Template;
use holdfast_core::outcome::{FailedRequest, Reason};
use holdfast_core::summary::Summary;
use holdfast_core::verdict::Outcome;

use crate::content::breakdown::{self, Part};
use crate::content::faults::FaultWords;
use crate::content::figures::KeyFigure;
use crate::content::{
    Align, Table, checks, faults, figures, invariants, reconciliation, run, windows,
};
use crate::siege::{self, SiegeFormat};
use crate::timeline::Timeline;
use crate::{Cause, Report, words};

mod axis;
mod bands;
mod latency_plot;
mod panels;
mod timeline_plot;

use latency_plot::LatencyPlot;
use timeline_plot::TimelinePlot;

/// Reasons with a colour of their own; the rarer ones share the last.
const REASON_COLOURS: usize = 8;
/// Failed requests shown one by one.
const MOST_FAILURES: usize = 100;
/// Rows of the table beside the plot.
const MOST_SECONDS: u32 = 300;

/// The page, ready to be laid out.
#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: &'a str,
    experiment: &'a str,
    run_id: &'a str,
    started_at: &'a str,
    verdict: &'static str,
    verdict_sentence: &'static str,
    verdict_class: &'static str,
    exit_code: u8,
    reasons: &'a [String],
    key_figures: Vec<KeyFigure>,
    legend: Vec<LegendEntry>,
    has_load: bool,
    timelines: Vec<TimelinePlot>,
    has_drain: bool,
    bands_left_out: usize,
    seconds_table: Table,
    failure_bars: Vec<FailureBar>,
    latency_plots: Vec<LatencyPlot>,
    omission: Option<String>,
    parts: Vec<Part>,
    reasons_table: Option<Table>,
    windows_table: Table,
    objectives_table: Table,
    invariants_table: Option<Table>,
    profile_line: Option<&'static str>,
    faults: Vec<FaultWords>,
    left_behind: Option<String>,
    failures_table: Table,
    failures_more: u64,
    siege_block: String,
    reference_table: Option<Table>,
    reconciliation: String,
    equations: [String; 2],
    equations_line: &'static str,
    accounting_holds: bool,
    hops_line: Option<String>,
    self_check: Vec<(&'static str, String)>,
    self_check_line: &'static str,
    self_check_valid: bool,
    problems: &'a [String],
    notes: &'a [String],
    environment: Vec<(&'static str, String)>,
    command_line: String,
}

/// One colour of the plot.
struct LegendEntry {
    class: String,
    label: String,
    count: u64,
}

/// One reason's share of the load's failures.
struct FailureBar {
    class: String,
    label: &'static str,
    count: u64,
    /// Percent of the longest bar.
    length: String,
}

pub(crate) fn render(report: &Report<'_>, siege_format: SiegeFormat) -> Result<String, Cause> {
    let Report {
        record,
        summary,
        verdict,
    } = *report;
    let reasons = windows::ranked_reasons(summary);
    let has_load = !record.ticks.is_empty();
    let rooms = [timeline_plot::WIDE, timeline_plot::NARROW];
    let timelines = rooms.map(|room| timeline_plot::place(record, &reasons, room));
    let page = Page {
        title: &record.run.plan.title,
        experiment: &record.run.plan.experiment,
        run_id: &record.run.run_id,
        started_at: &record.run.started_at,
        verdict: words::outcome(verdict.outcome),
        verdict_sentence: words::outcome_sentence(verdict.outcome),
        verdict_class: verdict_class(verdict.outcome),
        exit_code: verdict.outcome.exit_code(),
        reasons: &verdict.reasons,
        key_figures: figures::key_figures(report),
        legend: legend(summary, &reasons),
        has_load,
        has_drain: timelines[0].drain.is_some(),
        bands_left_out: timelines[0].bands_left_out,
        timelines: timelines.into(),
        seconds_table: seconds_table(&Timeline::new(record, MOST_SECONDS)),
        failure_bars: failure_bars(summary, &reasons),
        latency_plots: rooms
            .into_iter()
            .filter_map(|room| latency_plot::place(record, room))
            .collect(),
        omission: breakdown::omission(summary),
        parts: breakdown::parts(report),
        reasons_table: windows::reasons_table(summary),
        windows_table: windows::windows_table(summary),
        objectives_table: checks::objectives_table(verdict),
        invariants_table: invariants::invariants_table(verdict),
        profile_line: run::profile_line(record),
        faults: faults::faults(record),
        left_behind: faults::left_behind(record),
        failures_table: failures_table(&record.failures),
        failures_more: failures_more(report),
        siege_block: siege::text(&summary.siege, siege_format),
        reference_table: figures::reference_table(report),
        reconciliation: reconciliation::line(report),
        equations: checks::equations(&summary.accounting),
        equations_line: checks::equations_line(&summary.accounting),
        accounting_holds: summary.accounting.holds,
        hops_line: checks::hops_line(summary.hops),
        self_check: checks::self_check_rows(&summary.self_check),
        self_check_line: checks::self_check_line(&summary.self_check),
        self_check_valid: summary.self_check.valid,
        problems: &summary.self_check.problems,
        notes: &summary.self_check.notes,
        environment: run::environment_rows(record),
        command_line: run::command_line(record),
    };
    Ok(page.render()?)
}

/// The colour of the reason at `rank` in the order of frequency.
fn reason_class(rank: usize) -> String {
    format!("r{}", rank.min(REASON_COLOURS - 1))
}

fn verdict_class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed | Outcome::Measured => "good",
        Outcome::Failed | Outcome::NotReverted => "bad",
        Outcome::Inconclusive | Outcome::Aborted | Outcome::Interrupted | Outcome::Terminated => {
            "doubtful"
        }
    }
}

fn legend(summary: &Summary, reasons: &[Reason]) -> Vec<LegendEntry> {
    let mut legend = vec![LegendEntry {
        class: "expected".to_owned(),
        label: "as expected".to_owned(),
        count: summary.users.expected,
    }];
    for (rank, reason) in reasons.iter().enumerate() {
        let count = summary.users.unexpected.get(reason).copied().unwrap_or(0);
        if count == 0 {
            continue;
        }
        let shared = rank + 1 >= REASON_COLOURS && reasons.len() > REASON_COLOURS;
        match legend.last_mut() {
            Some(last) if shared && last.class == reason_class(rank) => {
                last.label.push_str(", ");
                last.label.push_str(reason.label());
                last.count += count;
            }
            _ => legend.push(LegendEntry {
                class: reason_class(rank),
                label: reason.label().to_owned(),
                count,
            }),
        }
    }
    legend
}

fn failure_bars(summary: &Summary, reasons: &[Reason]) -> Vec<FailureBar> {
    let count = |reason| summary.users.unexpected.get(reason).copied().unwrap_or(0);
    let longest = reasons.iter().map(count).max().unwrap_or(0).max(1);
    let bars = reasons.iter().enumerate();
    let bars = bars.filter(|(_, reason)| count(reason) > 0);
    bars.map(|(rank, reason)| FailureBar {
        class: reason_class(rank),
        label: reason.label(),
        count: count(reason),
        length: format!("{:.1}", count(reason) as f64 / longest as f64 * 100.0),
    })
    .collect()
}

fn seconds_table(timeline: &Timeline) -> Table {
    let mut table = Table::new([
        ("from", Align::Right),
        ("requests", Align::Right),
        ("as expected", Align::Right),
        ("availability", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("prober availability", Align::Right),
        ("failures", Align::Left),
    ]);
    for column in &timeline.columns {
        let unexpected = column.users.unexpected.iter();
        let failures: Vec<String> = unexpected
            .map(|(reason, count)| format!("{} {count}", reason.label()))
            .collect();
        let time = |percent| {
            let value = column.latency.percentile(percent);
            words::seconds_or_none(value.map(|value| value.as_secs_f64()))
        };
        table.rows.push(vec![
            format!("{} s", column.start),
            column.users.total().to_string(),
            column.users.expected.to_string(),
            words::percent_or_none(column.users.availability()),
            time(50.0),
            time(99.0),
            words::percent_or_none(column.prober.availability()),
            failures.join(", "),
        ]);
    }
    table
}

fn failures_table(failures: &[FailedRequest]) -> Table {
    let mut table = Table::new([
        ("ended", Align::Right),
        ("source", Align::Left),
        ("reason", Align::Left),
        ("status", Align::Right),
        ("service time", Align::Right),
        ("detail", Align::Left),
    ]);
    for failed in failures.iter().take(MOST_FAILURES) {
        let status = failed.status.map(|status| status.to_string());
        let draining = if failed.draining { " (drain)" } else { "" };
        table.rows.push(vec![
            format!("{:.3} s", failed.ended.as_secs_f64()),
            format!("{}{draining}", words::source(failed.source)),
            failed.reason.label().to_owned(),
            status.unwrap_or_else(|| words::NOT_MEASURED.to_owned()),
            words::seconds(failed.service_time.as_secs_f64()),
            words::one_line(&failed.detail),
        ]);
    }
    table
}

/// Failed requests that the table does not show.
fn failures_more(report: &Report<'_>) -> u64 {
    let kept = report.record.failures.len();
    let load = report.record.load.as_ref();
    let not_kept = load.map_or(0, |load| load.failures_not_kept);
    kept.saturating_sub(MOST_FAILURES) as u64 + not_kept
}
