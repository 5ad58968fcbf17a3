//! `nodeDrain`: a node takes no new pods, and its pods of this namespace are asked to leave.

use std::collections::BTreeMap;

use holdfast_core::fault::NodeDrain;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::owners::{Fate, Owners, fate};
use super::workload::Workload;
use crate::action::{Action, Evict, Set};
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::field::Path;
use crate::object::{Cluster, Object, Resource};
use crate::pods;
use crate::safety::spare_own_node;

pub(super) async fn blueprint(
    drain: &NodeDrain,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let cluster = context.cluster;
    let name = match drain {
        NodeDrain::Node(name) => name.clone(),
        NodeDrain::NodeOf(deployment) => node_of(cluster, deployment).await?,
    };
    let found = cluster.get(Resource::Node, &name).await?;
    // Undoing would open what somebody else has closed.
    if found.data["spec"]["unschedulable"] == true {
        return Err(FaultError::Parameter {
            what: format!("node {name}"),
            why: "drained, for it takes no pods already".to_owned(),
        });
    }
    another_node(cluster, &name).await?;
    spare_own_node(cluster, &[name.clone()].into()).await?;
    let node = Object {
        resource: Resource::Node,
        name: name.clone(),
        uid: found.uid().unwrap_or_default(),
    };
    let unschedulable = (Path::keys(["spec", "unschedulable"]), Some(json!(true)));
    let cordon = Set::plan(node, &found, [unschedulable])?;

    let here = pods::all(cluster, "").await?;
    let going = going(&here, &name, &cluster.namespace)?;
    let owners = Owners::find(cluster).await?;
    let mut targets = owners.targets(&here, &going);
    let mut back = Vec::new();
    for name in owners.deployments(&going) {
        let deployment = Workload::deployment(cluster, name).await?;
        let what = deployment.object.to_string();
        for target in targets
            .iter_mut()
            .filter(|target| target.impact.what == what)
        {
            target.unavailable = deployment.unavailable();
        }
        back.push(deployment.back());
    }
    let pods = going.into_iter().map(pods::object).collect();
    let mut actions = vec![Action::Set(cordon), Action::Evict(Evict { pods })];
    actions.extend(back);
    Ok(Blueprint { actions, targets })
}

/// Those of the pods that leave the node.
fn going<'a>(here: &'a [Pod], node: &str, namespace: &str) -> Result<Vec<&'a Pod>, FaultError> {
    let there = here.iter().filter(|pod| node_name(pod) == Some(node));
    let with = |fate: Fate| there.clone().filter(move |pod| self::fate(pod) == fate);
    let lost: Vec<_> = with(Fate::IsLost).map(pods::object).collect();
    if !lost.is_empty() {
        return Err(FaultError::NotReplaced {
            pods: pods::names(&lost),
            node: node.to_owned(),
        });
    }
    let going: Vec<_> = with(Fate::Goes).collect();
    if going.is_empty() {
        return Err(FaultError::NothingToEvict {
            node: node.to_owned(),
            namespace: namespace.to_owned(),
        });
    }
    Ok(going)
}

/// The node with most pods of the Deployment, the first by name if there are several.
async fn node_of(cluster: &Cluster, deployment: &str) -> Result<String, FaultError> {
    let workload = Workload::deployment(cluster, deployment).await?;
    let mut nodes = BTreeMap::<_, usize>::new();
    for node in workload.pods.iter().filter_map(node_name) {
        *nodes.entry(node).or_default() += 1;
    }
    let most = nodes.into_iter().rev().max_by_key(|(_, pods)| *pods);
    let node = most.map(|(node, _)| node.to_owned());
    node.ok_or_else(|| FaultError::NotAvailable(workload.object.to_string()))
}

fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// What leaves a node needs another one to go to.
async fn another_node(cluster: &Cluster, name: &str) -> Result<(), FaultError> {
    let nodes = Api::<Node>::all(cluster.client.clone());
    let nodes = nodes.list(&ListParams::default()).await;
    let nodes = nodes.map_err(FaultError::during("list nodes"))?;
    let open = |node: &&Node| {
        node.name_any() != name
            && node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true)
    };
    match nodes.iter().find(open) {
        Some(_) => Ok(()),
        None => Err(FaultError::Impossible(format!(
            "node {name} is the only one that takes pods, so its pods have nowhere to go"
        ))),
    }
}
