//! `dependencyOutage`: all pods of a database, a broker or any other dependency are gone.
//!
//! ```yaml
//! fault: {dependencyOutage: {deployment: broker}}
//! ```
//!
//! ```yaml
//! fault: {dependencyOutage: {statefulSet: postgres}}
//! ```
//!
//! While the fault is held the workload has no pod; afterwards it is to have as many as before, and
//! the evidence says how long it took until they were ready. A
//! StatefulSet's volumes stay. Taking all pods needs `safety.allow: [blastRadius]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the `dependencyOutage` fault: the workload, by its name in the system's
/// namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DependencyOutage {
    /// A Deployment.
    Deployment(String),
    /// A StatefulSet.
    StatefulSet(String),
}

impl DependencyOutage {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Deployment(name) => format!("take all pods of deployment {name} away"),
            Self::StatefulSet(name) => format!("take all pods of statefulset {name} away"),
        }
    }
}
