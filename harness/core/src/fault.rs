//! The catalogue of faults: one file per fault with its parameters, checks and manual text, and
//! one line here.

use serde::{Deserialize, Serialize};

pub mod scale;

pub use scale::Scale;

/// Something that is broken on purpose and put back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// Change the number of replicas of a Deployment.
    Scale(Scale),
}

impl Fault {
    /// One line for people: what is done to which object.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Scale(scale) => scale.describe(),
        }
    }
}
