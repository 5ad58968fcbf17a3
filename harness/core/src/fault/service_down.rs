//! `serviceDown`: take every endpoint away from a Service, while its pods run on.
//!
//! ```yaml
//! fault: {serviceDown: {service: pay}}
//! ```
//!
//! Callers find nobody behind the name: what a wrong selector or a bad network policy does. The
//! pods neither stop nor notice, so the Service is whole again as soon as the fault is undone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the `serviceDown` fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceDown {
    /// The Service's name in the system's namespace.
    pub service: String,
}

impl ServiceDown {
    pub(crate) fn describe(&self) -> String {
        format!("take the endpoints of service {} away", self.service)
    }
}
