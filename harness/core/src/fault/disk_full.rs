//! `diskFull`: fill the file system under a path in pods of a Deployment.
//!
//! ```yaml
//! fault: {diskFull: {deployment: store, count: 1, path: /data, leave: 1Mi}}
//! ```
//!
//! A file without a name, in the file system of `path`, takes all but `leave` (nothing, where it is
//! left out), also what becomes free later. When the fault ends it takes nothing any more. The file
//! system must be a volume of the pod's own: one that others use as well, such as the node's, is
//! refused when the fault is to begin (`harness/docs/agent.md`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Count;
use crate::bytes::Bytes;

/// Parameters of the `diskFull` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskFull {
    /// The Deployment's name in the system's namespace.
    pub deployment: String,
    /// In how many of its pods.
    pub count: Count,
    /// A folder below the container's root: an absolute path, without `..`.
    pub path: String,
    /// What is left free.
    #[serde(default = "nothing")]
    pub leave: Bytes,
}

fn nothing() -> Bytes {
    Bytes(0)
}

impl DiskFull {
    pub(crate) fn describe(&self) -> String {
        let Self {
            deployment,
            count,
            path,
            leave,
        } = self;
        format!("fill {path} in {count} of deployment {deployment} up to {leave}B")
    }
}
