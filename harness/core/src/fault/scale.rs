//! `scale`: set a Deployment's replicas, and set them back afterwards.
//!
//! ```yaml
//! fault: {scale: {deployment: pay, replicas: 0}}
//! ```
//!
//! Scaling to zero is how a dependency disappears cleanly: its pods are terminated gracefully,
//! its Service has no endpoint, and connections are refused. The original number of replicas is
//! recorded before the change. The fault is in effect when as many pods are ready and no others are
//! left; the number that there is already is refused. Taking more than half of the ready pods, or the last one, needs
//! `safety.allow: [blastRadius]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the `scale` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// The Deployment's name in the system's namespace.
    pub deployment: String,
    /// The number of replicas while the fault is held.
    pub replicas: u32,
}

impl Scale {
    pub(crate) fn describe(&self) -> String {
        format!("scale deployment {} to {}", self.deployment, self.replicas)
    }
}
