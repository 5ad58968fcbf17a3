//! `nodeDrain`: a node takes no new pods, and its pods of this namespace are asked to leave.

use holdfast_core::fault::NodeDrain;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::workload::Workload;
use crate::action::{Action, Evict, Set, is_ready};
use crate::blueprint::{Blueprint, Context, Target};
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
    let cordon = Set::plan(node.clone(), &found, [unschedulable]);

    let here = pods::all(cluster, "").await?;
    let ready = here.iter().filter(|pod| is_ready(pod));
    let leaving: Vec<&Pod> = here
        .iter()
        .filter(|pod| node_name(pod) == Some(&name))
        .collect();
    let (all, taken) = (
        ready.count(),
        leaving.iter().filter(|pod| is_ready(pod)).count(),
    );
    let size = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Blueprint {
        actions: vec![
            Action::Set(cordon),
            Action::Evict(Evict {
                pods: leaving.into_iter().map(pods::object).collect(),
            }),
        ],
        targets: vec![Target {
            object: node,
            ready: size(all),
            left: size(all - taken),
        }],
    })
}

async fn node_of(cluster: &Cluster, deployment: &str) -> Result<String, FaultError> {
    let workload = Workload::deployment(cluster, deployment).await?;
    let node = workload.pods.iter().find_map(node_name).map(str::to_owned);
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
