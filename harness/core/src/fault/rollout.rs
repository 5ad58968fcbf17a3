//! `rollout`: change a Deployment's pod template, as a release does, and change it back.
//!
//! ```yaml
//! fault: {rollout: {deployment: app, setEnv: {VERSION: v2}, container: app}}
//! ```
//!
//! ```yaml
//! fault: {rollout: {deployment: app, setImage: {app: "app:v2"}}}
//! ```
//!
//! ```yaml
//! fault: {rollout: {deployment: app, restart: true}}
//! ```
//!
//! The Deployment replaces its pods by its own update strategy. `setEnv` sets variables of one
//! container, of the only one where `container` is left out; `setImage` sets images by container.
//! Both may be given together; undoing them is a rollout back to the template from before.
//! `restart` replaces the pods by equal ones, as `kubectl rollout restart` does: it leaves nothing
//! to undo, and is over when the rollout is, so `duration` may be left out.
//!
//! Values and images that the Deployment has already are refused, unless others change. How many pods
//! may be missing is the strategy's: `Recreate`, or more than half, needs
//! `safety.allow: [blastRadius]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the `rollout` fault: `restart`, or at least one of `set_env` and `set_image`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollout {
    /// The Deployment's name in the system's namespace.
    pub deployment: String,
    /// Environment variables by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_env: BTreeMap<String, String>,
    /// The container whose variables are set; `None`: the Deployment has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Images by container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_image: BTreeMap<String, String>,
    /// Replace the pods by equal ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
}

impl Rollout {
    pub(crate) fn describe(&self) -> String {
        let deployment = &self.deployment;
        if self.restart {
            return format!("restart deployment {deployment}");
        }
        let variables = self.set_env.iter();
        let images = self.set_image.iter();
        let changes: Vec<String> = variables
            .map(|(name, value)| format!("{name}={value}"))
            .chain(images.map(|(container, image)| format!("image of {container} {image}")))
            .collect();
        format!(
            "roll out deployment {deployment} with {}",
            changes.join(", ")
        )
    }
}
