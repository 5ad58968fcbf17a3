//! Why a fault could not be checked, injected or undone; told to the loop as one line.

use std::error::Error;
use std::time::Duration;

use holdfast_engine::{Because, FaultDriverError};
use kube::core::Status;

use crate::safety::CHAOS_LABEL;

/// Why a fault could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    #[error(
        "namespace {0} does not carry the label {CHAOS_LABEL}: allowed; to permit faults in it: kubectl label namespace {0} {CHAOS_LABEL}=allowed"
    )]
    NamespaceNotAllowed(String),
    #[error("nothing is broken in namespace {0}: the cluster itself would be")]
    NamespaceExcluded(String),
    #[error("nothing is broken in namespace {0}: Holdfast itself runs there")]
    OwnNamespace(String),
    #[error("everything is halted ({0}); to permit faults again: holdfast resume")]
    Halted(String),
    #[error(
        "the cluster takes {took:.1} s to answer for one object, so that a fault might not be undone in time",
        took = .0.as_secs_f64()
    )]
    SlowCluster(Duration),
    #[error(
        "the fault would harm node {0}, on which Holdfast itself and its load run; let its Deployment run on another node (nodeName, affinity)"
    )]
    OwnNode(String),
    #[error("{what} {name} does not exist")]
    NoSuchObject { what: String, name: String },
    #[error("{0} has no available pod, so there is nothing to break")]
    NotAvailable(String),
    #[error(
        "{what} is not available already before the fault, so nothing could be learnt from it: {why} To see why: kubectl describe {what}"
    )]
    Unavailable { what: String, why: String },
    #[error(
        "the fault leaves {left} of {ready} ready pods of {what}{}; more than half, or the last one, needs safety.allow: [blastRadius] in the experiment",
        together(beside)
    )]
    BlastRadius {
        what: String,
        left: u32,
        ready: u32,
        /// Other faults whose share counts.
        beside: Vec<String>,
    },
    #[error(
        "the cluster does not know {0} and this user may not define it; an administrator does: holdfast controller --print-definitions | kubectl apply -f -"
    )]
    NotInstalled(String),
    #[error(
        "the fault takes {taken} pods of the disruption budget {name}, which permits {allowed} now; that needs safety.allow: [pdb] in the experiment"
    )]
    Budget {
        name: String,
        taken: usize,
        allowed: i32,
    },
    #[error("the lease of the run cannot be renewed, so its faults would be undone at once")]
    NotAlive,
    #[error(
        "{what} is held by {holder}, one at a time; wait until that has ended, or undo what a dead run has left: holdfast recover"
    )]
    Locked { what: String, holder: String },
    #[error("{0} came to what the fault affects while it was locked; try again")]
    Joined(String),
    #[error("this cluster cannot do that: {0}")]
    Impossible(String),
    #[error("the fault changes nothing: in {what}, {found} already")]
    NoChange { what: String, found: String },
    #[error("the fault changes nothing: node {node} has no pod of namespace {namespace} to evict")]
    NothingToEvict { node: String, namespace: String },
    #[error(
        "nobody would replace {pods} on node {node}, for no controller made them; delete or move them first, as kubectl drain asks for"
    )]
    NotReplaced { pods: String, node: String },
    #[error("{what} cannot be: {why}")]
    Parameter { what: String, why: String },
    #[error("{0}")]
    Refused(String),
    #[error("it was undone early: {0}")]
    EndedEarly(String),
    #[error("not everything is undone: {0}")]
    NotReverted(String),
    #[error("how to undo {0} is not recorded, so it is not injected")]
    NotPrepared(String),
    #[error("faultinjection {0} is gone or says nothing; somebody else has changed it")]
    Vanished(String),
    #[error("{0} was replaced after its undo was recorded; it is left alone")]
    Replaced(String),
    #[error(
        "{what} is {found} and no longer {planned}, as when the fault was prepared: somebody else has changed it, so it is left alone"
    )]
    Changed {
        what: String,
        found: String,
        planned: String,
    },
    #[error("{0} changes too often to be changed")]
    Busy(String),
    #[error("{what} already exists and is not ours")]
    Taken { what: String },
    #[error("{what} is {found} after it was set; an admission webhook may have changed it")]
    NotAsAsked { what: String, found: String },
    #[error("no running pod with {0} is left to kill")]
    NothingToKill(String),
    #[error("the eviction of {what} is refused: {why}")]
    NotEvicted { what: String, why: String },
    #[error("pod {pod} ended before it was in effect; it said: {said}")]
    AgentEnded { pod: String, said: String },
    #[error("it was not seen within {seconds} s that {what}")]
    NotSeen { what: String, seconds: u64 },
    #[error("cannot watch {what}")]
    Watch {
        what: String,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("the selector cannot be used: {0}")]
    Selector(String),
    #[error("an object is not what its kind is made of")]
    Malformed(#[source] serde_json::Error),
    #[error("a length of time is too long")]
    Length(#[source] jiff::Error),
    #[error("notAfter is not a time: {text}")]
    NotATime { text: String, source: jiff::Error },
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

    /// Whether it is the cluster that failed, and not the fault: it was not reached, it was too busy, or
    /// it went wrong by itself.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        match self {
            Self::Watch { .. } => true,
            Self::Kubernetes { source, .. } => source
                .downcast_ref::<Status>()
                .is_none_or(|status| matches!(status.code, 408 | 429 | 500..)),
            _ => false,
        }
    }
}

impl From<FaultError> for FaultDriverError {
    fn from(error: FaultError) -> Self {
        let because = if error.is_unanswered() {
            Because::Unanswered
        } else {
            Because::Refused
        };
        Self(one_line(&error), because)
    }
}

/// Of what is to be changed or deleted: an object that is gone needs no more.
///
/// # Errors
/// Any other.
pub fn gone_is_done(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other,
    }
}

/// What the API server said by itself: the client's error around it says it once more.
pub(crate) fn said(error: kube::Error) -> Box<dyn Error + Send + Sync> {
    match error {
        kube::Error::Api(status) => status,
        other => Box::new(other),
    }
}

fn together(beside: &[String]) -> String {
    let faults: Vec<_> = beside
        .iter()
        .map(|fault| format!("the fault {fault}"))
        .collect();
    if faults.is_empty() {
        return String::new();
    }
    format!(" together with {}", faults.join(" and "))
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
        let error = FaultError::during("read deployment pay")(sending);
        assert_eq!(
            FaultDriverError::from(error).0,
            "cannot read deployment pay: ServiceError: connection refused"
        );
    }
}
