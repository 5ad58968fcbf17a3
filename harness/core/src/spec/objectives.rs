//! `spec.steadyState`: what must hold.

use super::Placed;
use super::problems::Problems;
use super::tree::Node;
use crate::experiment::{Metric, Objective, Phase, Unit};

/// More than any run can send: a bound that could never be reached is a mistake.
const MOST_REQUESTS: u64 = 1_000_000_000;

pub(super) fn read(node: Option<&Node>, problems: &mut Problems) -> Option<Vec<Placed<Objective>>> {
    let Some(node) = node else {
        return Some(Vec::new());
    };
    let items = problems.list(node, "steadyState")?;
    let all: Vec<_> = items.iter().map(|item| objective(item, problems)).collect();
    all.into_iter().collect()
}

fn objective(node: &Node, problems: &mut Problems) -> Option<Placed<Objective>> {
    let known = ["metric", "during", "min", "max", "minRequests"];
    let fields = problems.fields(node, "objective", &known, &[])?;
    let metric = fields
        .required("metric", problems)
        .and_then(|node| metric(node, problems));
    let during = match fields.get("during") {
        Some(node) => phases(node, problems),
        None => Some(Vec::new()),
    };
    let min_requests = match fields.get("minRequests") {
        Some(node) => problems.whole(node, "minRequests", 1..=MOST_REQUESTS),
        None => Some(1),
    };
    let metric = metric?;
    let mut bound = |field: &str| match fields.get(field) {
        Some(node) => bound(node, field, metric.unit(), problems).map(Some),
        None => Some(None),
    };
    let (min, max) = (bound("min"), bound("max"));
    let objective = Objective {
        metric,
        during: during?,
        min: min?,
        max: max?,
        min_requests: min_requests?,
    };
    let at = fields.at().clone();
    match (objective.min, objective.max) {
        (None, None) => {
            problems.report(
                &at,
                "the objective has no bound",
                "allowed: `min`, `max` or both",
            );
            None
        }
        (Some(min), Some(max)) if min > max => {
            problems.report(
                &at,
                "`min` is above `max`: nothing could meet the objective",
                "allowed: `min` up to `max`",
            );
            None
        }
        _ => Some(Placed {
            value: objective,
            at,
        }),
    }
}

fn metric(node: &Node, problems: &mut Problems) -> Option<Metric> {
    let words = Metric::ALL.map(|metric| (metric.name(), metric));
    problems.one_of(node, "metric", &words, &[])
}

fn phases(node: &Node, problems: &mut Problems) -> Option<Vec<Phase>> {
    let words = Phase::ALL.map(|phase| (phase.name(), phase));
    let items = problems.nonempty_list(node, "during")?;
    let read = items
        .iter()
        .map(|item| problems.one_of(item, "window", &words, &[]));
    read.collect::<Vec<_>>().into_iter().collect()
}

/// A bound in the metric's unit: percent, seconds, or per second.
fn bound(node: &Node, field: &str, unit: Unit, problems: &mut Problems) -> Option<f64> {
    match unit {
        Unit::Percent => problems.percent(node, field),
        Unit::Seconds => problems
            .duration(node, field)
            .map(|bound| bound.as_secs_f64()),
        Unit::PerSecond => problems.rate(node, field),
    }
}
