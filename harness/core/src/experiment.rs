//! A valid experiment. Values of these types come from [`crate::spec`] alone, which refuses
//! everything that would make no sense here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::seconds;
use crate::fault::Fault;

/// What to run, against what, and what must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// `metadata.name`: a DNS label; also the folder under `reports/`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// The parameters in effect, `--set` overrides included, as text.
    pub params: BTreeMap<String, String>,
    /// What to apply before the run; `None` tests what already runs.
    pub system: Option<System>,
    /// The load and its target.
    pub load: Load,
    /// Observation before the first fault and after the last.
    pub windows: Windows,
    /// The faults, in order of their start.
    pub method: Vec<Step>,
    /// What must hold.
    pub objectives: Vec<Objective>,
    /// Limits on the damage.
    pub safety: Safety,
    /// A published figure to print beside ours.
    pub reference: Option<Reference>,
}

/// The system under test as Kubernetes manifests.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// The namespace everything is applied to.
    pub namespace: String,
    /// Files or folders of manifests, relative paths already resolved against the experiment.
    pub manifests: Vec<PathBuf>,
    /// Changes to single objects of the manifests before they are applied.
    pub patches: Vec<Patch>,
}

/// A strategic merge patch for one object of the manifests (kustomize's words).
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// The object's kind, e.g. `Deployment`.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// The patch.
    pub patch: serde_json::Value,
}

/// The load.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Where requests go.
    pub target: Target,
    /// Closed-loop users over time, one stage after another; never empty.
    pub stages: Vec<Stage>,
    /// Pause of a user between an answer and its next request.
    pub think_time: Duration,
    /// Deadline of each request, connect to last byte.
    pub timeout: Duration,
    /// Requests per second of the open-model prober beside the users; `None` switches it off.
    pub prober: Option<f64>,
    /// What a user sends, in turn; never empty.
    pub requests: Vec<Request>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// A Service of the system's namespace, at its first port.
    Service(String),
    /// An absolute `http://` URL.
    Url(String),
}

/// One stage of closed-loop load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Users at the end of the ramp; at least 1.
    pub users: u32,
    /// Time over which the number changes linearly from the previous stage's; zero: at once.
    #[serde(with = "seconds")]
    pub ramp: Duration,
    /// Length of the stage, ramp included.
    #[serde(with = "seconds")]
    pub duration: Duration,
}

/// One request a user sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// Absolute path with query, percent-encoded.
    pub path: String,
    /// Extra headers; `content-type` is set for JSON bodies.
    pub headers: BTreeMap<String, String>,
    /// The body, when there is one.
    pub body: Option<String>,
    /// Statuses that count as success; never empty.
    pub expect: Vec<u16>,
}

/// Observation windows around the faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Windows {
    /// Load before the method's `t = 0`.
    #[serde(with = "seconds")]
    pub baseline: Duration,
    /// Load after the last fault is due to be reverted.
    #[serde(with = "seconds")]
    pub recovery: Duration,
}

/// One step of the method: a fault, its start and its length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Unique within the experiment.
    pub name: String,
    /// Start, since the end of the baseline.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// How long the fault is held before it is reverted.
    #[serde(with = "seconds")]
    pub duration: Duration,
    /// What is done.
    pub fault: Fault,
}

/// A measurable promise about one or more windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    /// What is measured.
    pub metric: Metric,
    /// The windows taken together; empty: the whole run.
    pub during: Vec<Phase>,
    /// Lower bound, in the metric's unit.
    pub min: Option<f64>,
    /// Upper bound, in the metric's unit.
    pub max: Option<f64>,
    /// Fewer requests than this in the windows make the verdict inconclusive; at least 1.
    pub min_requests: u64,
}

/// What an objective measures. Availabilities in percent, times in seconds, rates per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// Strict availability of the users' requests: expected / all that ended or were cut off.
    Availability,
    /// siege's own availability of the users' requests (whole run only).
    SiegeAvailability,
    /// Strict availability as the open-model prober saw it.
    ProberAvailability,
    /// Median service time of expected answers.
    P50,
    /// 95th percentile of the same.
    P95,
    /// 99th percentile of the same.
    P99,
    /// Expected answers per second.
    Goodput,
    /// From the end of the last fault to steady service again (see `summary`).
    RecoveryTime,
}

impl Metric {
    /// Every metric, in the order of the reference.
    pub const ALL: [Self; 8] = [
        Self::Availability,
        Self::SiegeAvailability,
        Self::ProberAvailability,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::Goodput,
        Self::RecoveryTime,
    ];

    /// The word of the experiment file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::SiegeAvailability => "siegeAvailability",
            Self::ProberAvailability => "proberAvailability",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Goodput => "goodput",
            Self::RecoveryTime => "recoveryTime",
        }
    }

    /// What its values and bounds are measured in.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::Availability | Self::SiegeAvailability | Self::ProberAvailability => {
                Unit::Percent
            }
            Self::P50 | Self::P95 | Self::P99 | Self::RecoveryTime => Unit::Seconds,
            Self::Goodput => Unit::PerSecond,
        }
    }
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 100.
    Percent,
    /// Seconds.
    Seconds,
    /// Per second.
    PerSecond,
}

/// The windows of a run, cut at observed times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Before the first fault; the whole run when there is none.
    Baseline,
    /// From the beginning of the first injection to the last revert.
    Fault,
    /// From the last revert until service is steady again.
    Recovery,
    /// From then on.
    After,
}

impl Phase {
    /// Every phase, in the order of a run.
    pub const ALL: [Self; 4] = [Self::Baseline, Self::Fault, Self::Recovery, Self::After];

    /// The word of the experiment file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Fault => "fault",
            Self::Recovery => "recovery",
            Self::After => "after",
        }
    }
}

/// Limits on the damage an experiment may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Safety {
    /// Revert and end the run when one of these trips.
    pub stop_conditions: Vec<StopCondition>,
    /// Safety nets switched off by name.
    pub allow: Vec<SafetyNet>,
}

/// A rolling availability below which the run is stopped and everything reverted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopCondition {
    /// Length of the rolling window; whole seconds, at least one.
    #[serde(with = "seconds")]
    pub over: Duration,
    /// Trips when the users' strict availability over the window is below this percentage.
    pub min_availability: f64,
}

/// A safety net that an experiment can switch off by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SafetyNet {
    /// At most half of a workload's ready pods are taken, and at least one is left.
    BlastRadius,
}

/// A published figure printed beside the measured one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Where it comes from, e.g. `seed`.
    pub source: String,
    /// siege availability, percent.
    pub availability: f64,
    /// Transactions per second.
    pub transaction_rate: Option<f64>,
    /// siege response time, seconds.
    pub response_time: Option<f64>,
    /// siege concurrency.
    pub concurrency: Option<f64>,
    /// Longest transaction, seconds.
    pub longest: Option<f64>,
    /// Shortest transaction, seconds.
    pub shortest: Option<f64>,
}
