//! Faults of single pods: `podKill`, `podFreeze`, `probeFlap`, `diskFull`.

use std::time::Duration;

use super::super::problems::Problems;
use super::super::tree::Node;
use super::fault::{count, name, optional};
use super::nodes::bytes;
use crate::bytes::Bytes;
use crate::fault::{DiskFull, PodFreeze, PodKill, ProbeFlap};

pub(super) fn kill(node: &Node, problems: &mut Problems) -> Option<PodKill> {
    let known = ["deployment", "count", "grace", "every"];
    let fields = problems.fields(node, "podKill", &known, &[])?;
    let deployment = name(&fields, "deployment", problems);
    let count = count(&fields, problems);
    let grace = optional(&fields, "grace", |node| grace(node, problems));
    let every = optional(&fields, "every", |node| {
        problems.positive_duration(node, "every")
    });
    Some(PodKill {
        deployment: deployment?,
        count: count?,
        grace: grace?,
        every: every?,
    })
}

/// Kubernetes counts a grace in whole seconds.
fn grace(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let grace = problems.duration(node, "grace")?;
    if grace.subsec_nanos() == 0 {
        return Some(grace);
    }
    problems.report(
        &node.at,
        format!("`grace` is not a number of whole seconds: {grace:?}"),
        "allowed: whole seconds from 0s on",
    );
    None
}

pub(super) fn freeze(node: &Node, problems: &mut Problems) -> Option<PodFreeze> {
    let fields = problems.fields(node, "podFreeze", &["deployment", "count"], &[])?;
    let deployment = name(&fields, "deployment", problems);
    let count = count(&fields, problems);
    Some(PodFreeze {
        deployment: deployment?,
        count: count?,
    })
}

pub(super) fn flap(node: &Node, problems: &mut Problems) -> Option<ProbeFlap> {
    let known = ["deployment", "count", "down", "up"];
    let fields = problems.fields(node, "probeFlap", &known, &[])?;
    let deployment = name(&fields, "deployment", problems);
    let count = count(&fields, problems);
    let mut length = |field: &str| {
        let node = fields.required(field, problems)?;
        problems.positive_duration(node, field)
    };
    let (down, up) = (length("down"), length("up"));
    Some(ProbeFlap {
        deployment: deployment?,
        count: count?,
        down: down?,
        up: up?,
    })
}

pub(super) fn disk(node: &Node, problems: &mut Problems) -> Option<DiskFull> {
    let known = ["deployment", "count", "path", "leave"];
    let fields = problems.fields(node, "diskFull", &known, &[])?;
    let deployment = name(&fields, "deployment", problems);
    let count = count(&fields, problems);
    let path = fields
        .required("path", problems)
        .and_then(|node| absolute_path(node, problems));
    let leave = optional(&fields, "leave", |node| bytes(node, "leave", problems));
    Some(DiskFull {
        deployment: deployment?,
        count: count?,
        path: path?,
        leave: leave?.unwrap_or(Bytes(0)),
    })
}

/// A path that leads down from the container's root, and not to the root itself, however written:
/// that is the node's file system.
fn absolute_path(node: &Node, problems: &mut Problems) -> Option<String> {
    let path = problems.text(node, "path")?;
    let mut parts = path.split('/').skip(1);
    let leads_down = parts.clone().any(|part| !matches!(part, "" | "."))
        && parts.all(|part| part != ".." && !part.contains('\0'));
    if path.starts_with('/') && leads_down {
        return Some(path);
    }
    problems.report(
        &node.at,
        format!("`path` is not a folder below the container's root: `{path}`"),
        "allowed: an absolute path without `..`, such as /data",
    );
    None
}
