//! What was answered about the system's data in the end.

use holdfast_core::verdict::{JudgedInvariant, Verdict};

use super::{Align, Table};
use crate::words;

/// One row per invariant; `None` where nothing was asked.
pub(crate) fn invariants_table(verdict: &Verdict) -> Option<Table> {
    if verdict.invariants.is_empty() {
        return None;
    }
    let mut table = Table::new([
        ("result", Align::Left),
        ("invariant", Align::Left),
        ("found", Align::Left),
    ]);
    for judged in &verdict.invariants {
        table.rows.push(vec![
            result(judged).to_owned(),
            judged.name.clone(),
            words::one_line(&judged.found),
        ]);
    }
    Some(table)
}

/// Whether an invariant held, in words.
pub(crate) fn result(judged: &JudgedInvariant) -> &'static str {
    match judged.held {
        Some(true) => "✓ holds",
        Some(false) => "✗ missed",
        None => "? cannot be said",
    }
}
