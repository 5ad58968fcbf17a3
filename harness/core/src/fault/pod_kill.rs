//! `podKill`: evict or delete pods of a Deployment, once or again and again.
//!
//! ```yaml
//! fault: {podKill: {deployment: app, count: 1}}
//! ```
//!
//! ```yaml
//! fault: {podKill: {deployment: app, count: "50%", grace: 0s, every: 10s}}
//! ```
//!
//! The pods are evicted, so that the API server holds their disruption budgets: a pod that one protects
//! ends a kill that is done once, and of one with `every` it is spared in that round, which the record
//! says. With `safety.allow: [pdb]` they are deleted, whatever the budgets say.
//!
//! The Deployment replaces what is gone, so there is nothing to put back: the fault is over when
//! as many pods are ready as before. Which ones are taken is a draw that comes out alike for the same
//! ready pods: `holdfast plan` names them. `grace` is the time between the request to stop and the kill,
//! the pod's own where it is left out; `0s` kills at once, as a crashed node does. `every` takes
//! `count` pods again at that pace for as long as the fault is held, and needs a `duration`.
//! Without it, `duration` may be left out. The safety nets are asked before each round: one that they
//! refuse, because the pods of the last are not back yet, is left out, and the record says so.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Count;
use crate::duration::{self, text};

/// Parameters of the `podKill` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodKill {
    /// The Deployment's name in the system's namespace.
    pub deployment: String,
    /// How many of its pods are taken each time.
    pub count: Count,
    /// Time from the request to stop to the kill; `None`: the pod's own.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub grace: Option<Duration>,
    /// The pace at which it is done again while the fault is held; `None`: once.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub every: Option<Duration>,
}

impl PodKill {
    pub(crate) fn describe(&self) -> String {
        let mut line = format!("kill {} of deployment {}", self.count, self.deployment);
        if let Some(grace) = self.grace {
            line.push_str(&format!(" with a grace of {}", duration::format(grace)));
        }
        if let Some(every) = self.every {
            line.push_str(&format!(" every {}", duration::format(every)));
        }
        line
    }
}
