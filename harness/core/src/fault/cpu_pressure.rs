//! `cpuPressure`: keep processors busy on the nodes where a Deployment's pods run.
//!
//! ```yaml
//! fault: {cpuPressure: {deployment: app, workers: 2, load: 80}}
//! ```
//!
//! On each of these nodes `workers` threads use so many percent of one processor each. It is the
//! noisy neighbour: the pods themselves are not touched, and their requests and limits decide what
//! is left for them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the `cpuPressure` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuPressure {
    /// The Deployment whose nodes are loaded, by its name in the system's namespace.
    pub deployment: String,
    /// Busy threads on each node; at least 1.
    pub workers: u32,
    /// How busy each is, in percent of one processor; 1 to 100.
    pub load: u8,
}

impl CpuPressure {
    pub(crate) fn describe(&self) -> String {
        let Self {
            deployment,
            workers,
            load,
        } = self;
        format!("keep {workers} processors {load} % busy on the nodes of deployment {deployment}")
    }
}
