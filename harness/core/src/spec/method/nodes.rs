//! Faults of nodes: `cpuPressure`, `memoryPressure`, `nodeDrain`.

use super::super::problems::Problems;
use super::super::tree::Node;
use super::fault::name;
use crate::bytes::Bytes;
use crate::fault::{CpuPressure, MemoryPressure, NodeDrain};

/// More threads than any node has processors.
const MOST_WORKERS: u32 = 1024;

pub(super) fn cpu(node: &Node, problems: &mut Problems) -> Option<CpuPressure> {
    let known = ["deployment", "workers", "load"];
    let fields = problems.fields(node, "cpuPressure", &known, &[])?;
    let deployment = name(&fields, "deployment", problems);
    let workers = fields
        .required("workers", problems)
        .and_then(|node| problems.whole(node, "workers", 1..=MOST_WORKERS));
    let load = fields
        .required("load", problems)
        .and_then(|node| problems.whole(node, "load", 1..=100));
    Some(CpuPressure {
        deployment: deployment?,
        workers: workers?,
        load: load?,
    })
}

pub(super) fn memory(node: &Node, problems: &mut Problems) -> Option<MemoryPressure> {
    let fields = problems.fields(node, "memoryPressure", &["deployment", "bytes"], &[])?;
    let deployment = name(&fields, "deployment", problems);
    let bytes_node = fields.required("bytes", problems);
    let held = bytes_node.and_then(|node| bytes(node, "bytes", problems));
    if let (Some(Bytes(0)), Some(node)) = (held, bytes_node) {
        problems.report(
            &node.at,
            "`bytes` must be more than nothing",
            "allowed: above zero, such as 256Mi",
        );
        return None;
    }
    Some(MemoryPressure {
        deployment: deployment?,
        bytes: held?,
    })
}

pub(super) fn drain(node: &Node, problems: &mut Problems) -> Option<NodeDrain> {
    let known = ["node", "nodeOf"];
    let fields = problems.fields(node, "nodeDrain", &known, &[])?;
    match fields.exactly_one(&known, problems)? {
        ("node", node) => problems.object_name(node, "node").map(NodeDrain::Node),
        (_, node) => problems.label(node, "nodeOf").map(NodeDrain::NodeOf),
    }
}

/// A number of bytes.
pub(super) fn bytes(node: &Node, what: &str, problems: &mut Problems) -> Option<Bytes> {
    let text = problems.text(node, what)?;
    let read = Bytes::parse(&text);
    if read.is_none() {
        problems.report(
            &node.at,
            format!("`{what}` is not a number of bytes: `{text}`"),
            "allowed: a whole number and none or one of Ki, Mi, Gi, Ti, such as 256Mi",
        );
    }
    read
}
