//! Every figure a report prints, computed once from the record. Formats only lay them out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::experiment::Phase;
use crate::outcome::Reason;
use crate::siege::Figures;

/// The figures of a run. Times in seconds, availabilities in percent; `None` where nothing was
/// measured, never zero instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// siege's block for the users, requests in flight at the end dropped as siege drops them.
    pub siege: Figures,
    /// Users: counts, latencies and strict availability, drain included.
    pub users: Measured,
    /// Prober, when there was one.
    pub prober: Option<Measured>,
    /// The windows as observed, in order; empty ones are left out.
    pub windows: Vec<Window>,
    /// From the end of the last fault to steady service; `None` when there was no fault or
    /// service did not become steady (see `recovered`).
    pub recovery_time: Option<f64>,
    /// Whether service became steady after the last fault; `None` without a fault.
    pub recovered: Option<bool>,
    /// Whole seconds of the load in which no request of the prober (of the users, without a
    /// prober) ended as expected although some ended.
    pub failed_seconds: u64,
    /// The accounting identity.
    pub accounting: Accounting,
    /// What the generator says about itself.
    pub self_check: SelfCheck,
}

/// What one source measured over some stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Length of the stretch in seconds.
    pub seconds: f64,
    /// Requests that ended (client-caused failures left out) or were cut off.
    pub requests: u64,
    /// Of those, as expected.
    pub expected: u64,
    /// The others by reason, client-caused ones included.
    pub unexpected: BTreeMap<Reason, u64>,
    /// In flight at the end of the drain.
    pub cut_off: u64,
    /// expected / requests, percent.
    pub availability: Option<f64>,
    /// 95 % Wilson interval of the availability, percent.
    pub availability_interval: Option<(f64, f64)>,
    /// Expected answers per second.
    pub goodput: Option<f64>,
    /// Service time of expected answers.
    pub latency_expected: Percentiles,
    /// Service time of the others.
    pub latency_unexpected: Percentiles,
}

/// Percentiles in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// Median.
    pub p50: Option<f64>,
    /// 95th.
    pub p95: Option<f64>,
    /// 99th.
    pub p99: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Arithmetic mean.
    pub mean: Option<f64>,
}

/// One window of the run as observed. Times since the start of the load, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Which.
    pub phase: Phase,
    /// Start.
    pub start: f64,
    /// End.
    pub end: f64,
    /// Users.
    pub users: Measured,
    /// Prober.
    pub prober: Option<Measured>,
}

/// scheduled = sent + dropped; sent = expected + unexpected + cut off; Σ reasons = unexpected.
/// All sources together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accounting {
    /// Requests that should have been sent.
    pub scheduled: u64,
    /// Given up before they were sent.
    pub dropped: u64,
    /// Sent.
    pub sent: u64,
    /// Ended as expected.
    pub expected: u64,
    /// Ended otherwise.
    pub unexpected: u64,
    /// In flight when the drain ended.
    pub cut_off: u64,
    /// Ended during the drain (part of expected and unexpected; siege drops them).
    pub drained: u64,
    /// Whether both equations hold.
    pub holds: bool,
}

/// What the load generator says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfCheck {
    /// 99th percentile of the generator's own scheduling lag.
    pub lag_p99: Option<f64>,
    /// Processor time per second of load and per available processor, percent.
    pub cpu_percent: Option<f64>,
    /// Failures the generator itself caused.
    pub client_side_failures: u64,
    /// Seconds in which it was saturated.
    pub saturated_seconds: u64,
    /// Seconds of load.
    pub load_seconds: f64,
    /// Little's law: mean number of users in a request by counting time …
    pub little_measured: Option<f64>,
    /// … and by multiplying rate and response time, think time included.
    pub little_expected: Option<f64>,
    /// Whether the figures can be the service's: nothing above voids the run.
    pub valid: bool,
    /// Why not, one line each.
    pub problems: Vec<String>,
}
