//! Limits on the damage an experiment may do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Address;
use crate::condition::RequiredCondition;
use crate::duration::seconds;

/// Limits on the damage an experiment may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Safety {
    /// The only cluster the experiment may run on.
    pub cluster: Option<ClusterLock>,
    /// Revert and end the run when one of these trips.
    pub stop_conditions: Vec<StopCondition>,
    /// Safety nets switched off by name.
    pub allow: Vec<SafetyNet>,
}

/// What the cluster of a run must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterLock {
    /// The UID of its namespace `kube-system`, which no other cluster has.
    Uid(String),
    /// The name by which it is reached: the kubeconfig's context, or `local`.
    Context(String),
}

/// When a run is stopped and everything reverted. Looser than any objective: an objective judges,
/// a stop condition protects. No data is no safety, and trips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StopCondition {
    /// The users' strict availability over a rolling window: the last whole seconds, as few as last
    /// `over` and hold 100 requests that ended. While there are fewer, only silence trips.
    Availability {
        /// The least length of the window; whole seconds, at least one.
        #[serde(with = "seconds")]
        over: Duration,
        /// Trips below this percentage.
        min: f64,
    },
    /// The 99th percentile of the users' expected answers over a rolling window: the last whole
    /// seconds, as few as last `over` and hold 100 of them. While there are fewer, only silence trips.
    P99 {
        /// The least length of the window; whole seconds, at least one.
        #[serde(with = "seconds")]
        over: Duration,
        /// Trips above it.
        #[serde(with = "seconds")]
        max: Duration,
    },
    /// Seconds in a row in which none of the users got an expected answer.
    FailedSeconds {
        /// Trips at so many; at least 1.
        consecutive: u32,
    },
    /// An address that must answer with success (2xx).
    Http {
        /// What is asked.
        get: Address,
        /// How often; at least a second.
        #[serde(with = "seconds")]
        every: Duration,
    },
    /// What Prometheus computes must be within bounds, of which there is at least one.
    Promql {
        /// The query, for people.
        query: String,
        /// Where it is asked.
        get: Address,
        /// Trips below it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// Trips above it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
        /// How often; at least a second.
        #[serde(with = "seconds")]
        every: Duration,
    },
    /// A condition that an object of the cluster shows must be what it is required to be.
    K8sCondition {
        /// Of which object, and what.
        required: RequiredCondition,
        /// How often; at least a second.
        #[serde(with = "seconds")]
        every: Duration,
    },
    /// The cluster itself must be healthy: its API server ready, and each of its nodes.
    ClusterHealth {
        /// How often; at least a second.
        #[serde(with = "seconds")]
        every: Duration,
    },
}

impl StopCondition {
    /// Who is asked over HTTP; `None`: somebody else tells.
    #[must_use]
    pub fn asks(&self) -> Option<&Address> {
        match self {
            Self::Http { get, .. } | Self::Promql { get, .. } => Some(get),
            Self::Availability { .. }
            | Self::P99 { .. }
            | Self::FailedSeconds { .. }
            | Self::K8sCondition { .. }
            | Self::ClusterHealth { .. } => None,
        }
    }

    /// What is read in the cluster, for people; `None`: somebody else tells.
    #[must_use]
    pub fn reads(&self) -> Option<String> {
        match self {
            Self::K8sCondition { required, .. } => {
                Some(format!("the condition of {}", required.object()))
            }
            Self::ClusterHealth { .. } => Some("the health of the cluster".to_owned()),
            Self::Availability { .. }
            | Self::P99 { .. }
            | Self::FailedSeconds { .. }
            | Self::Http { .. }
            | Self::Promql { .. } => None,
        }
    }
}

/// A safety net that an experiment can switch off by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SafetyNet {
    /// At most half of a workload's ready pods are taken, and at least one is left.
    BlastRadius,
    /// Pods are evicted, as their disruption budgets permit, and not deleted.
    Pdb,
    /// A fault is held for 5 minutes at most; without this net for 30.
    LongFault,
}

impl SafetyNet {
    /// Every net, in the order of the reference.
    pub const ALL: [Self; 3] = [Self::BlastRadius, Self::Pdb, Self::LongFault];

    /// The word of the experiment file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BlastRadius => "blastRadius",
            Self::Pdb => "pdb",
            Self::LongFault => "longFault",
        }
    }
}
