//! `spec.safety`, the limits on the damage, and `spec.reference`, the figures to print beside ours.

use std::time::Duration;

use super::problems::Problems;
use super::tree::Node;
use crate::experiment::{Reference, Safety, SafetyNet, StopCondition};

/// `pause` is the longest that the load makes between requests; `None` when it could not be read.
pub(super) fn limits(
    node: Option<&Node>,
    pause: Option<Duration>,
    problems: &mut Problems,
) -> Option<Safety> {
    let Some(node) = node else {
        return Some(Safety::default());
    };
    let known = ["stopConditions", "allow"];
    let fields = problems.fields(node, "safety", &known, &["cluster"])?;
    let stop_conditions = match fields.get("stopConditions") {
        Some(node) => stop_conditions(node, pause, problems),
        None => Some(Vec::new()),
    };
    let allow = match fields.get("allow") {
        Some(node) => safety_nets(node, problems),
        None => Some(Vec::new()),
    };
    Some(Safety {
        stop_conditions: stop_conditions?,
        allow: allow?,
    })
}

fn stop_conditions(
    node: &Node,
    pause: Option<Duration>,
    problems: &mut Problems,
) -> Option<Vec<StopCondition>> {
    let items = problems.list(node, "stopConditions")?;
    let read = items
        .iter()
        .map(|item| stop_condition(item, pause, problems));
    read.collect::<Vec<_>>().into_iter().collect()
}

fn stop_condition(
    node: &Node,
    pause: Option<Duration>,
    problems: &mut Problems,
) -> Option<StopCondition> {
    let known = ["metric", "over", "min"];
    let fields = problems.fields(node, "stop condition", &known, &[])?;
    let metric = fields.required("metric", problems).and_then(|node| {
        let later = ["p99", "http", "promql", "k8sCondition"];
        problems.one_of(node, "stop condition", &[("availability", ())], &later)
    });
    let over = fields
        .required("over", problems)
        .and_then(|node| over(node, pause.unwrap_or_default(), problems));
    let min = fields
        .required("min", problems)
        .and_then(|node| problems.percent(node, "min"));
    metric?;
    Some(StopCondition {
        over: over?,
        min_availability: min?,
    })
}

/// The length of a rolling window: whole seconds, because load is counted by the second, and longer
/// than any pause of the load, because a window without any request trips.
fn over(node: &Node, pause: Duration, problems: &mut Problems) -> Option<Duration> {
    let over = problems.positive_duration(node, "over")?;
    if over.subsec_nanos() != 0 {
        problems.report(
            &node.at,
            format!("`over` is not a number of whole seconds: {over:?}"),
            "allowed: whole seconds from 1s on",
        );
        return None;
    }
    if over <= pause {
        problems.report(
            &node.at,
            format!("`over` is not longer than the load's own pauses: {over:?}"),
            format!("allowed: whole seconds above {pause:?}; a window without requests trips"),
        );
        return None;
    }
    Some(over)
}

fn safety_nets(node: &Node, problems: &mut Problems) -> Option<Vec<SafetyNet>> {
    let words = [("blastRadius", SafetyNet::BlastRadius)];
    let items = problems.list(node, "allow")?;
    let read = items
        .iter()
        .map(|item| problems.one_of(item, "safety net", &words, &["pdb"]));
    read.collect::<Vec<_>>().into_iter().collect()
}

pub(super) fn reference(node: &Node, problems: &mut Problems) -> Option<Reference> {
    let known = [
        "source",
        "availability",
        "transactionRate",
        "responseTime",
        "concurrency",
        "longest",
        "shortest",
    ];
    let fields = problems.fields(node, "reference", &known, &[])?;
    let source = fields
        .required("source", problems)
        .and_then(|node| problems.text(node, "source"));
    let availability = fields
        .required("availability", problems)
        .and_then(|node| problems.percent(node, "availability"));
    let mut figure = |field: &str| match fields.get(field) {
        Some(node) => problems.number(node, field, 0.0..=f64::MAX).map(Some),
        None => Some(None),
    };
    let transaction_rate = figure("transactionRate");
    let response_time = figure("responseTime");
    let concurrency = figure("concurrency");
    let longest = figure("longest");
    let shortest = figure("shortest");
    Some(Reference {
        source: source?,
        availability: availability?,
        transaction_rate: transaction_rate?,
        response_time: response_time?,
        concurrency: concurrency?,
        longest: longest?,
        shortest: shortest?,
    })
}
