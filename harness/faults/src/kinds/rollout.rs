//! `rollout`: a Deployment's pods are replaced by others, step by step as its strategy says.

use std::collections::BTreeMap;

use holdfast_core::fault::Rollout;
use serde_json::{Value, json};

use super::workload::Workload;
use crate::action::{Action, Condition, Set, Wait};
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::field::Path;

/// What `kubectl rollout restart` sets.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

pub(super) async fn blueprint(
    rollout: &Rollout,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let deployment = Workload::deployment(context.cluster, &rollout.deployment).await?;
    let change = if rollout.restart {
        restart(&deployment, jiff::Timestamp::now())?
    } else {
        let values = values(rollout, &deployment.found.data)?;
        Set::plan(deployment.object.clone(), &deployment.found, values)?
    };
    let name = rollout.deployment.clone();
    Ok(Blueprint {
        actions: vec![
            Action::Wait(Wait::before_the_end(Condition::RolledOut(name.clone()))),
            Action::Set(change),
            Action::Wait(Wait::for_evidence(Condition::RollingOut(name))),
        ],
        targets: vec![deployment.rolled_out()?],
    })
}

/// Replaces the pods by equal ones, as a person would: what that leaves is no residue. Two restarts
/// differ by their time.
pub(super) fn restart(deployment: &Workload, at: jiff::Timestamp) -> Result<Set, FaultError> {
    let at = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let path = Path::keys(["spec", "template", "metadata", "annotations"]).key(RESTARTED_AT);
    let values = [(path, Some(json!(at)))];
    Ok(Set {
        lasting: true,
        ..Set::plan(deployment.object.clone(), &deployment.found, values)?
    })
}

fn values(rollout: &Rollout, deployment: &Value) -> Result<Vec<(Path, Option<Value>)>, FaultError> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
    let names: Vec<&str> = containers
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect();
    let mut values = Vec::new();
    if !rollout.set_env.is_empty() {
        let container = container(rollout, &names)?;
        values.extend(set_env(container, &rollout.set_env));
    }
    for (container, image) in &rollout.set_image {
        known(container, &names)?;
        values.push((of_container(container).key("image"), Some(json!(image))));
    }
    Ok(values)
}

/// Variables of one container.
pub(super) fn set_env(
    container: &str,
    variables: &BTreeMap<String, String>,
) -> Vec<(Path, Option<Value>)> {
    let variable = |(name, value): (&String, &String)| {
        let path = of_container(container).key("env").named(name);
        (path, Some(json!({"name": name, "value": value})))
    };
    variables.iter().map(variable).collect()
}

/// The way to a container of the pods.
pub(super) fn of_container(name: &str) -> Path {
    Path::keys(["spec", "template", "spec", "containers"]).named(name)
}

fn container<'a>(rollout: &'a Rollout, names: &[&'a str]) -> Result<&'a str, FaultError> {
    match (&rollout.container, names) {
        (Some(name), _) => known(name, names),
        (None, [only]) => Ok(only),
        (None, _) => Err(FaultError::Parameter {
            what: "rollout.container".to_owned(),
            why: format!("left out, for there are several: {}", names.join(", ")),
        }),
    }
}

fn known<'a>(name: &'a str, names: &[&str]) -> Result<&'a str, FaultError> {
    if names.contains(&name) {
        return Ok(name);
    }
    Err(FaultError::Parameter {
        what: format!("container {name}"),
        why: format!(
            "changed, for there is none of that name; there are {}",
            names.join(", ")
        ),
    })
}
