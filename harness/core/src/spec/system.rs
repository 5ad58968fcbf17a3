//! `spec.system`: what is applied before the run and removed after it.

use std::path::{Path, PathBuf};

use super::problems::Problems;
use super::to_json;
use super::tree::{Node, Value};
use crate::experiment::{Patch, System};

pub(super) fn read(
    node: &Node,
    directory: &Path,
    manifest_exists: &dyn Fn(&Path) -> bool,
    problems: &mut Problems,
) -> Option<System> {
    let known = ["namespace", "manifests", "patches"];
    let fields = problems.fields(node, "system", &known, &[])?;
    let namespace = fields
        .required("namespace", problems)
        .and_then(|node| problems.label(node, "namespace"));
    // Without manifests, what already runs in the namespace is put to the test.
    let given = fields.get("manifests");
    let manifests = match given {
        Some(node) => manifests(node, directory, manifest_exists, problems),
        None => Some(Vec::new()),
    };
    let patches = match fields.get("patches") {
        Some(node) if given.is_none() => {
            problems.report(
                &node.at,
                "`patches` change manifests, and there are none",
                "allowed: `patches` together with `manifests`",
            );
            None
        }
        Some(node) => patches(node, problems),
        None => Some(Vec::new()),
    };
    Some(System {
        namespace: namespace?,
        manifests: manifests?,
        patches: patches?,
    })
}

fn manifests(
    node: &Node,
    directory: &Path,
    manifest_exists: &dyn Fn(&Path) -> bool,
    problems: &mut Problems,
) -> Option<Vec<PathBuf>> {
    let items = problems.nonempty_list(node, "manifests")?;
    let read = items.iter().map(|item| {
        let path = directory.join(problems.text(item, "manifest")?);
        if !manifest_exists(&path) {
            problems.report(
                &item.at,
                format!("no such file or folder: {}", path.display()),
                "allowed: a path that exists, relative to the experiment file",
            );
        }
        Some(path)
    });
    // Collected twice so that one mistake does not hide the next.
    read.collect::<Vec<_>>().into_iter().collect()
}

fn patches(node: &Node, problems: &mut Problems) -> Option<Vec<Patch>> {
    let items = problems.list(node, "patches")?;
    let read = items.iter().map(|item| patch(item, problems));
    read.collect::<Vec<_>>().into_iter().collect()
}

fn patch(node: &Node, problems: &mut Problems) -> Option<Patch> {
    let fields = problems.fields(node, "patch", &["target", "patch"], &[])?;
    let target = fields
        .required("target", problems)
        .and_then(|node| problems.fields(node, "target", &["kind", "name"], &[]));
    let mut word = |field: &str| {
        let node = target.as_ref()?.required(field, problems)?;
        problems.text(node, field)
    };
    let (kind, name) = (word("kind"), word("name"));
    let content = fields.required("patch", problems)?;
    if matches!(content.value, Value::Scalar(_) | Value::List(_)) {
        problems.report(
            &content.at,
            "`patch` must be a map",
            "allowed: the part of the object that changes, as in its manifest",
        );
        return None;
    }
    Some(Patch {
        kind: kind?,
        name: name?,
        patch: to_json(content)?,
    })
}
