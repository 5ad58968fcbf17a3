//! `spec.windows` and `spec.method`: what is broken, when and for how long.

use std::time::Duration;

use super::Placed;
use super::problems::Problems;
use super::tree::Node;
use crate::experiment::{Step, Windows};

mod fault;
mod network;
mod nodes;
mod pods;
mod workloads;

/// Nothing stays broken longer, whatever a file permits (`safety.md`).
const LONGEST_FAULT: Duration = Duration::from_secs(30 * 60);

pub(super) fn windows(node: Option<&Node>, problems: &mut Problems) -> Option<Windows> {
    let none = Windows {
        baseline: Duration::ZERO,
        recovery: Duration::ZERO,
    };
    let Some(node) = node else { return Some(none) };
    let fields = problems.fields(node, "windows", &["baseline", "recovery"], &[])?;
    let mut length = |field: &str| match fields.get(field) {
        Some(node) => problems.duration(node, field),
        None => Some(Duration::ZERO),
    };
    let (baseline, recovery) = (length("baseline"), length("recovery"));
    Some(Windows {
        baseline: baseline?,
        recovery: recovery?,
    })
}

/// The steps as written; `None` when one of them could not be read.
pub(super) fn steps(node: Option<&Node>, problems: &mut Problems) -> Option<Vec<Placed<Step>>> {
    let Some(node) = node else {
        return Some(Vec::new());
    };
    let items = problems.list(node, "method")?;
    let all: Vec<_> = items.iter().map(|item| step(item, problems)).collect();
    all.into_iter().collect()
}

fn step(node: &Node, problems: &mut Problems) -> Option<Placed<Step>> {
    let known = ["name", "at", "duration", "fault"];
    let fields = problems.fields(node, "step", &known, &[])?;
    let name = fields
        .required("name", problems)
        .and_then(|node| problems.label(node, "name"));
    let at = fields
        .required("at", problems)
        .and_then(|node| problems.duration(node, "at"));
    let fault = fields
        .required("fault", problems)
        .and_then(|node| fault::read(node, problems));
    let duration = match (fields.get("duration"), &fault) {
        (Some(node), _) => fault_duration(node, problems),
        (None, Some(fault)) if fault.ends_by_itself() => Some(Duration::ZERO),
        // Whether it can be left out depends on the fault, which could not be read.
        (None, None) => None,
        (None, Some(_)) => fields.required("duration", problems).and(None),
    };
    Some(Placed {
        at: fields.at().clone(),
        value: Step {
            name: name?,
            at: at?,
            duration: duration?,
            fault: fault?,
        },
    })
}

fn fault_duration(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let duration = problems.positive_duration(node, "duration")?;
    if duration > LONGEST_FAULT {
        problems.report(
            &node.at,
            "a fault cannot be held that long",
            "allowed: up to 30m",
        );
        return None;
    }
    Some(duration)
}
