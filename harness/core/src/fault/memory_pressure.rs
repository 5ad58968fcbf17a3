//! `memoryPressure`: hold memory on the nodes where a Deployment's pods run.
//!
//! ```yaml
//! fault: {memoryPressure: {deployment: app, bytes: 256Mi}}
//! ```
//!
//! On each of these nodes so much memory is written to and kept until the fault ends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Parameters of the `memoryPressure` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryPressure {
    /// The Deployment whose nodes are loaded, by its name in the system's namespace.
    pub deployment: String,
    /// How much is held on each node; above zero.
    pub bytes: Bytes,
}

impl MemoryPressure {
    pub(crate) fn describe(&self) -> String {
        let Self { deployment, bytes } = self;
        format!("hold {bytes}B of memory on the nodes of deployment {deployment}")
    }
}
