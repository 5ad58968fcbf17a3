//! `configChange`: change keys of a ConfigMap, and change them back.
//!
//! ```yaml
//! fault: {configChange: {configMap: limits, set: {MAX_ITEMS: "0"}, restart: [app]}}
//! ```
//!
//! Pods that mount the ConfigMap see the change by and by; those that read it as environment see it
//! when they start, so Deployments named in `restart` are restarted after the change and after its
//! undoing. Keys that were not there before are gone again afterwards. Where all keys have their
//! values already, the fault is refused.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the `configChange` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigChange {
    /// The ConfigMap's name in the system's namespace.
    pub config_map: String,
    /// Values by key; at least one.
    pub set: BTreeMap<String, String>,
    /// Deployments restarted after each change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<String>,
}

impl ConfigChange {
    pub(crate) fn describe(&self) -> String {
        let set = self.set.iter();
        let set: Vec<String> = set.map(|(key, value)| format!("{key}={value}")).collect();
        let mut line = format!("set {} in configmap {}", set.join(", "), self.config_map);
        if !self.restart.is_empty() {
            line.push_str(&format!(" and restart {}", self.restart.join(", ")));
        }
        line
    }
}
