//! Faults of workloads and what configures them: `scale`, `rollout`, `hpa`, `dependencyOutage`,
//! `configChange`.

use std::collections::BTreeMap;

use super::super::problems::{Fields, Problems};
use super::super::tree::Node;
use super::fault::{MOST_PODS, name, optional};
use crate::fault::{ConfigChange, DependencyOutage, Hpa, HpaCreate, Rollout, Scale};

/// Above any useful aim: a pod may use more than it requests, but not a hundred times as much.
const MOST_CPU: u32 = 10_000;

pub(super) fn scale(node: &Node, problems: &mut Problems) -> Option<Scale> {
    let fields = problems.fields(node, "scale", &["deployment", "replicas"], &[])?;
    let deployment = name(&fields, "deployment", problems);
    let replicas = fields
        .required("replicas", problems)
        .and_then(|node| problems.whole(node, "replicas", 0..=MOST_PODS));
    Some(Scale {
        deployment: deployment?,
        replicas: replicas?,
    })
}

pub(super) fn rollout(node: &Node, problems: &mut Problems) -> Option<Rollout> {
    let known = ["deployment", "setEnv", "container", "setImage", "restart"];
    let fields = problems.fields(node, "rollout", &known, &[])?;
    let deployment = name(&fields, "deployment", problems);
    let set_env = optional(&fields, "setEnv", |node| {
        problems.texts_by_name(node, "setEnv", is_variable, VARIABLE_FORM)
    });
    let set_image = optional(&fields, "setImage", |node| images(node, problems));
    let container = optional(&fields, "container", |node| {
        problems.label(node, "container")
    });
    let restart = optional(&fields, "restart", |node| {
        problems.switched_on(node, "restart")
    });
    go_together(&fields, problems)?;
    Some(Rollout {
        deployment: deployment?,
        set_env: set_env?.unwrap_or_default(),
        container: container?,
        set_image: set_image?.unwrap_or_default(),
        restart: restart?.is_some(),
    })
}

/// A rollout changes something, or restarts, and a container is where variables are.
fn go_together(rollout: &Fields<'_>, problems: &mut Problems) -> Option<()> {
    let given = |field| rollout.get(field).is_some();
    let changes = given("setEnv") || given("setImage");
    let (message, allowed) = match (changes, given("restart")) {
        (true, true) => (
            "a rollout that changes something restarts the pods anyway",
            "allowed: `restart` alone, or `setEnv` and `setImage` without it",
        ),
        (false, false) => (
            "the rollout changes nothing",
            "allowed: at least one of `setEnv` and `setImage`, or `restart`",
        ),
        _ if given("container") && !given("setEnv") => (
            "`container` says whose variables `setEnv` sets, and there is no `setEnv`",
            "allowed: `container` together with `setEnv`; `setImage` names its containers itself",
        ),
        _ => return Some(()),
    };
    problems.report(rollout.at(), message, allowed);
    None
}

fn images(node: &Node, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let images = problems.texts_by_name(node, "setImage", is_container, CONTAINER_FORM)?;
    let bad = |image: &&String| image.is_empty() || image.contains(char::is_whitespace);
    if let Some(image) = images.values().find(bad) {
        problems.report(
            &node.at,
            format!("`setImage` has a value that is no image: `{image}`"),
            "allowed: an image as in a manifest, such as app:v2",
        );
        return None;
    }
    Some(images)
}

pub(super) fn hpa(node: &Node, problems: &mut Problems) -> Option<Hpa> {
    let known = ["create", "remove"];
    let fields = problems.fields(node, "hpa", &known, &[])?;
    let (what, node) = fields.exactly_one(&known, problems)?;
    if what == "remove" {
        return problems.object_name(node, "remove").map(Hpa::Remove);
    }
    let known = ["deployment", "minReplicas", "maxReplicas", "cpu"];
    let fields = problems.fields(node, "create", &known, &[])?;
    let deployment = name(&fields, "deployment", problems);
    let mut number = |field: &str, most: u32| {
        let node = fields.required(field, problems)?;
        problems.whole(node, field, 1..=most)
    };
    let min_replicas = number("minReplicas", MOST_PODS);
    let max_replicas = number("maxReplicas", MOST_PODS);
    let cpu = number("cpu", MOST_CPU);
    let create = HpaCreate {
        deployment: deployment?,
        min_replicas: min_replicas?,
        max_replicas: max_replicas?,
        cpu: cpu?,
    };
    if create.min_replicas > create.max_replicas {
        problems.report(
            fields.at(),
            "`minReplicas` is above `maxReplicas`",
            "allowed: `minReplicas` up to `maxReplicas`",
        );
        return None;
    }
    Some(Hpa::Create(create))
}

pub(super) fn outage(node: &Node, problems: &mut Problems) -> Option<DependencyOutage> {
    let known = ["deployment", "statefulSet"];
    let fields = problems.fields(node, "dependencyOutage", &known, &[])?;
    let (kind, node) = fields.exactly_one(&known, problems)?;
    let name = problems.label(node, kind)?;
    Some(match kind {
        "deployment" => DependencyOutage::Deployment(name),
        _ => DependencyOutage::StatefulSet(name),
    })
}

pub(super) fn config(node: &Node, problems: &mut Problems) -> Option<ConfigChange> {
    let known = ["configMap", "set", "restart"];
    let fields = problems.fields(node, "configChange", &known, &[])?;
    let config_map = fields
        .required("configMap", problems)
        .and_then(|node| problems.object_name(node, "configMap"));
    let set = fields
        .required("set", problems)
        .and_then(|node| problems.texts_by_name(node, "set", is_config_key, CONFIG_KEY_FORM));
    let restart = optional(&fields, "restart", |node| deployments(node, problems));
    Some(ConfigChange {
        config_map: config_map?,
        set: set?,
        restart: restart?.unwrap_or_default(),
    })
}

fn deployments(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let items = problems.nonempty_list(node, "restart")?;
    let mut names = Vec::new();
    for item in items {
        let name = problems.label(item, "restart")?;
        if names.contains(&name) {
            problems.report(
                &item.at,
                format!("`{name}` is restarted twice"),
                "allowed: each deployment once",
            );
            return None;
        }
        names.push(name);
    }
    Some(names)
}

pub(super) const VARIABLE_FORM: &str =
    "a variable's name: a letter or `_`, then letters, digits, `_`, `-` and `.`";

/// As the API server takes them.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

const CONTAINER_FORM: &str = "a container's name: 1 to 63 of a-z, 0-9 and `-`";

fn is_container(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

const CONFIG_KEY_FORM: &str = "1 to 253 letters, digits, `-`, `_` and `.`";

fn is_config_key(key: &str) -> bool {
    (1..=253).contains(&key.len())
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
