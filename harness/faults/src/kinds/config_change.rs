//! `configChange`: keys of a ConfigMap get other values, and Deployments that read them at their
//! start are restarted after each change.

use holdfast_core::fault::ConfigChange;
use kube::ResourceExt;
use serde_json::json;

use super::rollout;
use super::workload::Workload;
use crate::action::{Action, Condition, Set, Wait};
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::field::Path;
use crate::object::{Object, Resource};

pub(super) async fn blueprint(
    change: &ConfigChange,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let found = context
        .cluster
        .get(Resource::ConfigMap, &change.config_map)
        .await?;
    let object = Object {
        resource: Resource::ConfigMap,
        name: change.config_map.clone(),
        uid: found.uid().unwrap_or_default(),
    };
    let values = change.set.iter();
    let values = values.map(|(key, value)| (Path::keys(["data"]).key(key), Some(json!(value))));
    let set = Set::plan(object, &found, values.collect::<Vec<_>>())?;

    let (mut before, mut after, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for name in &change.restart {
        let deployment = Workload::deployment(context.cluster, name).await?;
        let now = jiff::Timestamp::now();
        let again = rollout::restart(&deployment, now + jiff::SignedDuration::from_secs(1))?;
        let rolled_out = Condition::RolledOut(name.clone());
        // Undone from the end: the values are back before the pods are made anew.
        before.push(Action::Wait(Wait::before_the_end(rolled_out.clone())));
        before.push(Action::Set(Set {
            reverting: true,
            ..again
        }));
        after.push(Action::Set(rollout::restart(&deployment, now)?));
        after.push(Action::Wait(Wait::for_evidence(rolled_out)));
        targets.push(deployment.rolled_out()?);
    }
    before.push(Action::Set(set));
    before.extend(after);
    Ok(Blueprint {
        actions: before,
        targets,
    })
}
