//! What must be true of the system's data in the end, and where that is asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::seconds;

/// Something that must be true once the load has ended and every fault is undone. How it is
/// answered: [`crate::invariant`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invariant {
    /// Unique within the experiment.
    pub name: String,
    /// Who knows.
    pub get: Address,
    /// How long the system may take to settle, from the end of the load or the last undo, whichever
    /// is later; above zero.
    #[serde(with = "seconds")]
    pub within: Duration,
}

/// Something that can be asked over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Address {
    /// A Service of the system's namespace, at its first port.
    Service {
        /// The Service's name.
        name: String,
        /// An absolute path with query, percent-encoded.
        path: String,
    },
    /// An absolute `http://` URL.
    Url(String),
}

/// `service auditor at /invariants`, or the URL.
impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service { name, path } => write!(formatter, "service {name} at {path}"),
            Self::Url(url) => formatter.write_str(url),
        }
    }
}
