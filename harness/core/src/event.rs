//! Everything that can happen in a run. Events are the only link between running and telling:
//! the progress display, the journal, the record and every report consume the same ones.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::seconds;
use crate::experiment::{Phase, Profile};
use crate::histogram::Histogram;
use crate::invariant::Checked;
use crate::outcome::{FailedRequest, Reason, Sample, Source};
use crate::plan::Plan;
use crate::siege::Tally;

/// An event and when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamped {
    /// Since the start of the run.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// The first event of every run.
    RunStarted(Box<RunStarted>),
    /// The first request is about to be sent. Ticks count seconds from here.
    LoadStarted,
    /// One second of load from one source.
    Tick(Box<Tick>),
    /// A request failed; sent for the first ones only (the bound is the load driver's).
    RequestFailed(FailedRequest),
    /// No further request will be sent. Comes before the drain's ticks.
    LoadStopped,
    /// Every request is classified; nothing of the load comes after this.
    LoadFinished(Box<LoadFinished>),
    /// The run entered a phase.
    PhaseStarted(Phase),
    /// How to undo a fault is stored; the fault itself begins now.
    UndoRecorded {
        /// The fault's name.
        fault: String,
        /// One line: what undoing it means.
        undo: String,
    },
    /// A fault is in effect.
    FaultInjected {
        /// The fault's name.
        fault: String,
        /// What was seen that proves it.
        evidence: String,
    },
    /// A fault is undone, and what it changed is as before.
    FaultRecovered {
        /// The fault's name.
        fault: String,
        /// What was seen that proves it.
        evidence: String,
    },
    /// A fault could not be injected or undone.
    FaultFailed {
        /// The fault's name.
        fault: String,
        /// Which of the two.
        action: FaultAction,
        /// The error's words.
        error: String,
    },
    /// Something seen from outside.
    Observed(Observation),
    /// What became of an invariant; sent once for each that was asked about.
    InvariantsChecked(Box<Checked>),
    /// The run ends early.
    Stopped(StopCause),
    /// The last event of every run.
    RunFinished {
        /// What the run changed and could not put back; empty when all is well.
        residue: Vec<String>,
    },
}

/// Which half of a fault failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultAction {
    /// Bringing it about.
    Inject,
    /// Undoing it.
    Recover,
}

/// Why a run ended before its plan did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StopCause {
    /// Ctrl-C (SIGINT).
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// A stop condition tripped; its words.
    StopCondition(String),
    /// Somebody called for a halt; their words.
    Halted(String),
    /// The baseline was not what it must be before anything is broken; its words.
    BaselineUnmet(String),
    /// A fault could not be injected; its words.
    FaultFailed(String),
    /// The load could not be carried out; its words.
    LoadFailed(String),
}

/// Who runs what, where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunStarted {
    /// `<utc>-<short id>`; the run folder's name.
    pub run_id: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The experiment file as given; empty for a run that has none.
    pub source_file: String,
    /// The words after `holdfast` that repeat the run; empty in records that do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Whose values the parameters have.
    #[serde(default, skip_serializing_if = "Profile::is_full")]
    pub profile: Profile,
    /// The parameters in effect.
    pub params: BTreeMap<String, String>,
    /// The place of the run.
    pub environment: Environment,
    /// What will be done.
    pub plan: Plan,
}

/// The place of a run: printed in every report, because figures depend on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// `local`, or the kubeconfig context.
    pub cluster: String,
    /// The API server's version.
    pub cluster_version: String,
    /// What the cluster emulates and how (PID-1 rule, propagation delay …), one line each.
    pub emulations: Vec<String>,
    /// The namespace of the system under test.
    pub namespace: String,
    /// The address requests were sent to.
    pub target_url: String,
    /// Operating system and architecture of the load generator.
    pub platform: String,
    /// Processors available to it.
    pub processors: usize,
    /// Holdfast's version.
    pub holdfast: String,
}

/// What one source did in one second of the load, by the time at which requests ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tick {
    /// Who.
    pub source: Source,
    /// The tick covers `[second, second + 1)` since the start of the load (the last tick before
    /// the load stops, and ticks of the drain, may cover less).
    pub second: u32,
    /// Whether the load had stopped: these requests were in flight at its end. siege drops them.
    pub draining: bool,
    /// Requests that should have been sent in this second (prober: by its schedule; users: sent).
    pub scheduled: u64,
    /// Of those, given up before they were sent.
    pub dropped: u64,
    /// Requests sent in this second.
    pub sent: u64,
    /// Requests that ended as expected.
    pub expected: u64,
    /// Requests that did not, by reason.
    pub unexpected: BTreeMap<Reason, u64>,
    /// Answers by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests in flight at the end of the second.
    pub in_flight: u64,
    /// Service times of expected answers: from the send.
    pub latency_expected: Histogram,
    /// Service times of the others.
    pub latency_unexpected: Histogram,
    /// Response times of everything that ended: from the intended send. Empty for closed-loop
    /// users, who intend to send when they do.
    pub response: Histogram,
    /// Redirects followed, not counted as requests.
    pub hops: u64,
    /// Journeys by name.
    pub journeys: BTreeMap<String, JourneyCount>,
    /// Requests that ended, by the endpoint (pod) that was dialled, where it is known.
    pub endpoints: BTreeMap<String, EndpointCount>,
    /// siege's accumulators.
    pub siege: Tally,
}

impl Tick {
    /// An empty tick.
    #[must_use]
    pub fn new(source: Source, second: u32, draining: bool) -> Self {
        Self {
            source,
            second,
            draining,
            scheduled: 0,
            dropped: 0,
            sent: 0,
            expected: 0,
            unexpected: BTreeMap::new(),
            statuses: BTreeMap::new(),
            in_flight: 0,
            latency_expected: Histogram::default(),
            latency_unexpected: Histogram::default(),
            response: Histogram::default(),
            hops: 0,
            journeys: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            siege: Tally::default(),
        }
    }

    /// Counts one request that ended in this second.
    pub fn count(&mut self, sample: &Sample) {
        self.siege.count(sample);
        if let Some(status) = sample.status {
            *self.statuses.entry(status).or_default() += 1;
        }
        match sample.failure {
            None => {
                self.expected += 1;
                self.latency_expected.record(sample.service_time);
            }
            Some(reason) => {
                *self.unexpected.entry(reason).or_default() += 1;
                self.latency_unexpected.record(sample.service_time);
            }
        }
        if let Some(response_time) = sample.response_time {
            self.response.record(response_time);
        }
        self.hops += sample.hops.len() as u64;
        if let Some(endpoint) = &sample.endpoint {
            let count = entry(&mut self.endpoints, endpoint);
            match sample.failure {
                None => count.expected += 1,
                Some(_) => count.unexpected += 1,
            }
        }
    }

    /// Counts a journey that came to its end.
    pub fn count_journey(&mut self, name: &str, end: JourneyEnd) {
        let count = entry(&mut self.journeys, name);
        match end {
            JourneyEnd::Completed => count.completed += 1,
            JourneyEnd::Failed => count.failed += 1,
        }
    }

    /// Adds what another sender did in the same second.
    pub fn merge(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.dropped += other.dropped;
        self.sent += other.sent;
        self.expected += other.expected;
        for (reason, count) in &other.unexpected {
            *self.unexpected.entry(*reason).or_default() += count;
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.in_flight += other.in_flight;
        self.latency_expected.merge(&other.latency_expected);
        self.latency_unexpected.merge(&other.latency_unexpected);
        self.response.merge(&other.response);
        self.merge_counts(other);
        self.siege.merge(&other.siege);
    }

    /// Adds what another tick counts by name, and its redirects.
    pub(crate) fn merge_counts(&mut self, other: &Self) {
        self.hops += other.hops;
        for (name, count) in &other.journeys {
            let whole = entry(&mut self.journeys, name);
            whole.completed += count.completed;
            whole.failed += count.failed;
        }
        for (endpoint, count) in &other.endpoints {
            let whole = entry(&mut self.endpoints, endpoint);
            whole.expected += count.expected;
            whole.unexpected += count.unexpected;
        }
    }

    /// Requests that ended in this second and not as expected.
    #[must_use]
    pub fn unexpected_total(&self) -> u64 {
        self.unexpected.values().sum()
    }

    /// Of these, requests that the generator itself made fail.
    #[must_use]
    pub fn client_side_total(&self) -> u64 {
        let client_side =
            |(reason, count): (&Reason, &u64)| reason.is_client_side().then_some(*count);
        self.unexpected.iter().filter_map(client_side).sum()
    }
}

/// The value under `key`, which is made a string only the first time.
fn entry<'map, T: Default>(map: &'map mut BTreeMap<String, T>, key: &str) -> &'map mut T {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), T::default());
    }
    map.get_mut(key).expect("it is there or was just inserted")
}

/// How journeys ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JourneyCount {
    /// Every request ended as expected.
    pub completed: u64,
    /// At least one did not.
    pub failed: u64,
}

/// How a journey ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JourneyEnd {
    /// Every request ended as expected.
    Completed,
    /// At least one did not.
    Failed,
}

/// What one endpoint answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointCount {
    /// As expected.
    pub expected: u64,
    /// Otherwise, or not at all.
    pub unexpected: u64,
}

/// The load's own account at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadFinished {
    /// From the first request until the load stopped.
    #[serde(with = "seconds")]
    pub elapsed: Duration,
    /// Requests still in flight when the drain ended, by source.
    pub cut_off: BTreeMap<Source, u64>,
    /// Failed requests that were counted but not kept one by one.
    pub failures_not_kept: u64,
    /// How late the generator woke when it wanted to (scheduling lag of its own runtime).
    pub lag: Histogram,
    /// How late requests of the open model were sent: from the intended send to the send.
    pub send_lag: Histogram,
    /// Processor time of the sending processes during the load, in seconds, all threads.
    pub cpu_seconds: f64,
    /// Of it, the sending threads' own: one thread in each process.
    pub sender_cpu_seconds: f64,
    /// Processors they may use together: what the scheduler allows, or the control group's quota
    /// where that is less.
    pub processors: f64,
    /// Seconds for which the sending threads were ready to run and had no processor, in all;
    /// `None` where the system does not say.
    pub starved_seconds: Option<f64>,
    /// Seconds for which the control group's quota stopped the sending processes, in all.
    pub throttled_seconds: f64,
    /// File descriptors of the sending process; of several, of the one that had fewest left for
    /// its share.
    #[serde(default)]
    pub descriptors: Option<Used>,
    /// TCP sockets of the sending machine, connected or not forgotten yet, against the local ports
    /// it has for one destination; of several machines, of the fullest.
    #[serde(default)]
    pub ports: Option<Used>,
    /// Whole seconds in which the generator could not keep its own time: its figures are not the
    /// service's then.
    pub saturated_seconds: Vec<u32>,
    /// Average number of users inside a request or a think pause (of journeys under way, in the
    /// open model), for Little's law.
    pub mean_users: f64,
    /// Think pauses of all users, in seconds.
    pub pause_seconds: f64,
    /// Requests per second that this generator managed against a server that does nothing, when
    /// it was tried before the load.
    pub calibrated_rate: Option<f64>,
    /// The processes that sent; one unless the load was shared out.
    pub workers: Vec<WorkerAccount>,
}

/// The most that was in use of something bounded, as seen once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    /// The most in use.
    pub most: u64,
    /// How many there are.
    pub of: u64,
}

impl Used {
    /// The one of two with the larger share in use.
    pub fn fuller(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let share = |used: &Self| used.most as f64 / used.of.max(1) as f64;
        one.into_iter()
            .chain(other)
            .max_by(|a, b| share(a).total_cmp(&share(b)))
    }
}

/// One process of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerAccount {
    /// Its number, from 0.
    pub index: u32,
    /// Requests it sent.
    pub sent: u64,
    /// Its clock minus the coordinator's, in seconds, and how far that may be wrong.
    pub clock_offset: Option<(f64, f64)>,
    /// Why it did not give a whole account of itself; what it told before is counted.
    pub lost: Option<String>,
}

/// Something seen from outside the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Observation {
    /// A circuit breaker's state, as the target's pods show it at `/metrics`
    /// (`circuit_breaker_state`). Sent when it changes.
    Breaker {
        /// The pod that said so.
        pod: String,
        /// The breaker's name.
        breaker: String,
        /// `closed`, `open`, `half_open`.
        state: String,
    },
    /// Ready and all endpoints of a Service. Sent when they change.
    Endpoints {
        /// The Service.
        service: String,
        /// Ready endpoints.
        ready: u32,
        /// Listed endpoints.
        total: u32,
    },
}
