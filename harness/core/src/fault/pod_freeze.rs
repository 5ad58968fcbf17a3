//! `podFreeze`: stop the processes of pods without ending them, and let them go on afterwards.
//!
//! ```yaml
//! fault: {podFreeze: {deployment: app, count: 1}}
//! ```
//!
//! A frozen pod accepts connections and never answers, as one in a long garbage collection does:
//! the failure that timeouts are for. Its liveness probe fails meanwhile, if it has one. What starts
//! anew runs: a container that the node restarts for that, and the command of an exec probe, so a
//! pod with such a probe alone may stay ready. A pod that was replaced while the fault was held needs
//! nothing undone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Count;

/// Parameters of the `podFreeze` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodFreeze {
    /// The Deployment's name in the system's namespace.
    pub deployment: String,
    /// How many of its pods are frozen.
    pub count: Count,
}

impl PodFreeze {
    pub(crate) fn describe(&self) -> String {
        format!("freeze {} of deployment {}", self.count, self.deployment)
    }
}
