//! How a side can break a contract.

use serde_json::Value;

/// One way in which something differs from what was agreed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    #[error("{0} is missing")]
    Missing(String),
    #[error("{0} is not in the contract")]
    Unknown(String),
    #[error("{name} should be {wanted}, and is {found}")]
    Wrong {
        name: String,
        wanted: String,
        found: Value,
    },
    #[error("the {0} is not a JSON object")]
    NotAnObject(&'static str),
    #[error("the {0} is not a list with JSON objects in it")]
    NotAList(&'static str),
    #[error("no {0} was told")]
    NeverTold(String),
}

impl Breach {
    pub(crate) fn wrong(name: &str, wanted: impl Into<String>, found: impl Into<Value>) -> Self {
        Self::Wrong {
            name: name.to_owned(),
            wanted: wanted.into(),
            found: found.into(),
        }
    }
}
