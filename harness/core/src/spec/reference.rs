//! `spec.reference`: published figures to print beside ours.

use super::problems::Problems;
use super::tree::Node;
use crate::experiment::Reference;

pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Reference> {
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
