//! Invariants against what was answered, and the lines that say so.

use std::time::Duration;

use super::JudgedInvariant;
use crate::experiment::Invariant;
use crate::invariant::{Checked, Finding};
use crate::record::Record;
use crate::words;

/// Things that a line names; the others are counted.
const NAMED: usize = 5;

pub(super) fn judge(record: &Record) -> Vec<JudgedInvariant> {
    let asked = record.run.plan.invariants.iter();
    asked
        .map(|invariant| {
            let mut checked = record.invariants.iter();
            let checked = checked.find(|checked| checked.name == invariant.name);
            let (held, found) = found(invariant, checked);
            JudgedInvariant {
                name: invariant.name.clone(),
                held,
                text: format!("invariant {}: {found}", invariant.name),
                found,
            }
        })
        .collect()
}

fn found(invariant: &Invariant, checked: Option<&Checked>) -> (Option<bool>, String) {
    let Some(checked) = checked else {
        return (None, "was not asked about".to_owned());
    };
    if let Some(error) = &checked.error {
        return (
            None,
            format!("could not be asked of {}: {error}", invariant.get),
        );
    }
    let after = since_the_end(checked.after);
    if !checked.violations.is_empty() {
        let listed = listed(&checked.violations);
        return (Some(false), format!("violated, {after}: {listed}"));
    }
    if checked.settled {
        return (Some(true), format!("holds, settled {after}"));
    }
    let within = since_the_end(invariant.within);
    let due = if checked.due.is_empty() {
        String::new()
    } else {
        format!(": {}", listed(&checked.due))
    };
    (Some(false), format!("not settled within {within}{due}"))
}

/// Counted from the later of the end of the load and the last undo.
fn since_the_end(time: Duration) -> String {
    let time = words::seconds(time.as_secs_f64());
    format!("{time} after the load and the last undo")
}

/// `paidOnce (each order is paid exactly once): 7, 9 and 3 more; …`
fn listed(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(line).collect();
    lines.join("; ")
}

fn line(finding: &Finding) -> String {
    let mut line = finding.invariant.clone();
    if !finding.statement.is_empty() {
        line.push_str(&format!(" ({})", finding.statement));
    }
    if finding.count == 0 {
        return line;
    }
    let named = finding.about.iter().take(NAMED);
    let named: Vec<&str> = named.map(String::as_str).collect();
    line.push_str(&format!(": {}", named.join(", ")));
    let more = finding.count.saturating_sub(named.len() as u64);
    if more > 0 {
        line.push_str(&format!(" and {more} more"));
    }
    line
}
