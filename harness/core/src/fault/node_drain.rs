//! `nodeDrain`: cordon a node, evict its pods, and uncordon it afterwards.
//!
//! ```yaml
//! fault: {nodeDrain: {node: worker-2}}
//! ```
//!
//! ```yaml
//! fault: {nodeDrain: {nodeOf: app}}
//! ```
//!
//! What an upgrade of the node does: pods are evicted one by one, as their disruption budgets
//! permit, and come up elsewhere. `nodeOf` chooses the node with most pods of that Deployment when
//! the fault begins. Pods do not come back by themselves when the node is open again. A node that
//! takes no pods already is refused: undoing would open what somebody else has closed. So is one with a
//! pod that no controller would replace, as `kubectl drain` does, and one without a pod to evict. Pods
//! of DaemonSets, those that have ended, and Holdfast's own stay where they are.
//!
//! Taking more than half of the ready pods of any workload, or its last one, needs
//! `safety.allow: [blastRadius]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the `nodeDrain` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NodeDrain {
    /// The node of this name.
    Node(String),
    /// A node of this Deployment of the system's namespace.
    NodeOf(String),
}

impl NodeDrain {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Node(name) => format!("drain node {name}"),
            Self::NodeOf(deployment) => format!("drain a node of deployment {deployment}"),
        }
    }
}
