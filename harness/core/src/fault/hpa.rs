//! `hpa`: give a Deployment a horizontal pod autoscaler, or take one away.
//!
//! ```yaml
//! fault: {hpa: {create: {deployment: pay, minReplicas: 1, maxReplicas: 10, cpu: 15}}}
//! ```
//!
//! ```yaml
//! fault: {hpa: {remove: pay}}
//! ```
//!
//! `create` is a change under test rather than a harm: does scaling out help, and how fast? Undoing
//! it deletes the autoscaler and sets the Deployment's replicas back. It may take all pods but
//! `minReplicas`: where that is less than half of those that are ready, it needs
//! `safety.allow: [blastRadius]`. It is refused where it could do nothing: where a container of the
//! Deployment requests no CPU, or the cluster does not serve `metrics.k8s.io`. `remove` deletes one of
//! that name, and undoing creates it again as it was.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the `hpa` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Hpa {
    /// Create one.
    Create(HpaCreate),
    /// Delete the one of this name in the system's namespace.
    Remove(String),
}

/// The autoscaler to create; it has the name of its Deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HpaCreate {
    /// The Deployment's name in the system's namespace.
    pub deployment: String,
    /// Fewest replicas; at least 1.
    pub min_replicas: u32,
    /// Most replicas; at least `min_replicas`.
    pub max_replicas: u32,
    /// Average processor use aimed at, in percent of what the pods request; at least 1.
    pub cpu: u32,
}

impl Hpa {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Create(HpaCreate {
                deployment,
                min_replicas,
                max_replicas,
                cpu,
            }) => format!(
                "autoscale deployment {deployment} from {min_replicas} to {max_replicas} replicas \
                 at {cpu} % of the requested CPU"
            ),
            Self::Remove(name) => format!("remove autoscaler {name}"),
        }
    }
}
