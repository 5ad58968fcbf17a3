//! The load by its parts: journeys, endpoints and sending processes; each table only where it says
//! more than the figures above it.

use holdfast_core::summary::Summary;

use super::{Align, Table};
use crate::Report;
use crate::words;

/// A table and what it is about.
pub(crate) struct Part {
    /// What it is about.
    pub(crate) title: &'static str,
    /// How to read it.
    pub(crate) caption: &'static str,
    pub(crate) table: Table,
}

/// Every part that is known and worth a table.
pub(crate) fn parts(report: &Report<'_>) -> Vec<Part> {
    let tables = [
        (
            "Journeys",
            "Those that came to their end; one is completed when all its requests ended as expected",
            journeys_table(report),
        ),
        (
            "By endpoint",
            "Requests of load and prober by the pod that was dialled",
            endpoints_table(report.summary),
        ),
        (
            "Workers",
            "The processes that sent the load",
            workers_table(report.summary),
        ),
    ];
    let known = tables.into_iter().filter_map(|(title, caption, table)| {
        Some(Part {
            title,
            caption,
            table: table?,
        })
    });
    known.collect()
}

/// A journey of one request is that request.
fn journeys_table(report: &Report<'_>) -> Option<Table> {
    let journeys = &report.record.run.plan.load.journeys;
    let several = journeys.len() > 1 || journeys.iter().any(|one| one.requests.len() > 1);
    let mut table = Table::new([
        ("journey", Align::Left),
        ("completed", Align::Right),
        ("failed", Align::Right),
    ]);
    for (name, count) in &report.summary.journeys {
        table.rows.push(vec![
            words::one_line(name),
            count.completed.to_string(),
            count.failed.to_string(),
        ]);
    }
    (several && !table.rows.is_empty()).then_some(table)
}

fn endpoints_table(summary: &Summary) -> Option<Table> {
    let mut table = Table::new([
        ("endpoint", Align::Left),
        ("requests", Align::Right),
        ("as expected", Align::Right),
        ("not", Align::Right),
    ]);
    for (name, count) in &summary.endpoints {
        table.rows.push(vec![
            words::one_line(name),
            (count.expected + count.unexpected).to_string(),
            count.expected.to_string(),
            count.unexpected.to_string(),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

fn workers_table(summary: &Summary) -> Option<Table> {
    let workers = &summary.workers;
    if workers.len() < 2 && workers.iter().all(|worker| worker.lost.is_none()) {
        return None;
    }
    let mut table = Table::new([
        ("worker", Align::Left),
        ("sent", Align::Right),
        ("clock, ahead of ours", Align::Right),
        ("state", Align::Left),
    ]);
    for worker in workers {
        let clock = worker.clock_offset.map(|(offset, error)| {
            format!("{} ± {}", words::seconds(offset), words::seconds(error))
        });
        let lost = worker.lost.as_ref();
        table.rows.push(vec![
            worker.index.to_string(),
            worker.sent.to_string(),
            clock.unwrap_or_else(|| words::NOT_MEASURED.to_owned()),
            lost.map_or_else(
                || "whole".to_owned(),
                |lost| format!("LOST: {}", words::one_line(lost)),
            ),
        ]);
    }
    Some(table)
}

/// What closed-loop users left out, in words, where it makes a difference.
pub(crate) fn omission(summary: &Summary) -> Option<String> {
    let omission = summary.coordinated_omission.as_ref()?;
    Some(format!(
        "A user that hangs sends nothing: at their usual pace, once in {}, the users would have sent \
         {} more. With these the mean would be {} instead of {}, and p99 {} instead of {} \
         (HdrHistogram's correction for coordinated omission). An open model measures it; the \
         prober is one.",
        words::seconds(omission.interval),
        words::counted(omission.missing, "request", "requests"),
        words::seconds(omission.corrected_mean),
        words::seconds(omission.mean),
        words::seconds(omission.corrected_p99),
        words::seconds(omission.p99),
    ))
}
