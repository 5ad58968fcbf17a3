//! `probeFlap`: pods are unready and ready again, in turn.
//!
//! ```yaml
//! fault: {probeFlap: {deployment: app, count: 1, down: 5s, up: 5s}}
//! ```
//!
//! For `down` all processes of the pods are stopped, so that HTTP, TCP and gRPC probes are not
//! answered; for `up` they run; and so on for as long as the fault is held: what long pauses make of
//! a pod. It becomes unready only where `down` is long enough for its readiness probe to fail, and
//! what it is asked until then waits: a Deployment without a readiness probe is refused. Where its
//! liveness probe fails as well, the container is restarted.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Count;
use crate::duration::{self, text};

/// Parameters of the `probeFlap` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeFlap {
    /// The Deployment's name in the system's namespace.
    pub deployment: String,
    /// How many of its pods flap.
    pub count: Count,
    /// How long they are unready each time; above zero.
    #[serde(with = "text")]
    #[schemars(with = "String")]
    pub down: Duration,
    /// How long they are ready in between; above zero.
    #[serde(with = "text")]
    #[schemars(with = "String")]
    pub up: Duration,
}

impl ProbeFlap {
    pub(crate) fn describe(&self) -> String {
        format!(
            "make {} of deployment {} unready for {} and ready for {} in turn",
            self.count,
            self.deployment,
            duration::format(self.down),
            duration::format(self.up)
        )
    }
}
