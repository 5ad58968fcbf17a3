//! Why a fault could not be checked, injected or undone; told to the loop as one line.

use std::error::Error;

use holdfast_engine::FaultDriverError;

use crate::driver::CHAOS_LABEL;
use crate::ledger::LedgerError;

/// Why a fault could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FaultError {
    #[error(
        "namespace {0} does not carry the label {CHAOS_LABEL}: allowed; to permit faults in it: kubectl label namespace {0} {CHAOS_LABEL}=allowed"
    )]
    NamespaceNotAllowed(String),
    #[error("this version cannot carry the fault out: {0}")]
    NotCarriedOut(String),
    #[error("deployment {namespace}/{name} does not exist")]
    NoSuchDeployment { namespace: String, name: String },
    #[error("deployment {name} has no available pod, so there is nothing to break")]
    NotAvailable { name: String },
    #[error(
        "{what} leaves {left} of {ready} ready pods; more than half, or the last one, needs safety.allow: [blastRadius] in the experiment"
    )]
    BlastRadius { what: String, left: u32, ready: u32 },
    #[error("how to undo {0} is not recorded, so it is not injected")]
    NotPrepared(String),
    #[error("deployment {name} was replaced after its undo was recorded; it is left alone")]
    Replaced { name: String },
    #[error(
        "deployment {name} has {found} replicas after a request for {wanted}; an admission webhook may have changed it"
    )]
    NotAsAsked {
        name: String,
        wanted: i64,
        found: i64,
    },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot {action}")]
    Kubernetes {
        action: String,
        source: Box<dyn Error + Send + Sync>,
    },
}

impl FaultError {
    /// Wraps an API error with what was attempted on which object.
    pub(crate) fn during(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        |error| Self::Kubernetes {
            action,
            source: said(error),
        }
    }
}

impl From<FaultError> for FaultDriverError {
    fn from(error: FaultError) -> Self {
        Self(one_line(&error))
    }
}

/// What the API server said by itself: the client's error around it says it once more.
pub(crate) fn said(error: kube::Error) -> Box<dyn Error + Send + Sync> {
    match error {
        kube::Error::Api(status) => status,
        other => Box::new(other),
    }
}

/// An error and its causes. The last cause is the one that helps: the client's own words for a
/// server that cannot be reached are only that sending failed.
pub(crate) fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    for cause in std::iter::successors(error.source(), |cause: &&dyn Error| (*cause).source()) {
        let words = cause.to_string();
        // Some errors repeat their source.
        if !line.contains(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_loop_is_told_the_whole_chain_and_nothing_twice() {
        let refused = io::Error::other("connection refused");
        let sending = kube::Error::Service(Box::new(io::Error::other(refused)));
        let error = FaultError::from(LedgerError::Kubernetes {
            action: "read",
            name: "holdfast-1-outage".to_owned(),
            source: said(sending),
        });
        assert_eq!(
            FaultDriverError::from(error).0,
            "cannot read the undo record holdfast-1-outage: ServiceError: connection refused"
        );
    }
}
