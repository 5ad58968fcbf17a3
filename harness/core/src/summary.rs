//! Every figure a report prints, computed once from the record. Formats only lay them out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{EndpointCount, JourneyCount, Tick, Used, WorkerAccount};
use crate::experiment::Phase;
use crate::outcome::{Reason, Source};
use crate::record::Record;
use crate::siege::{Figures, Tally};

mod measure;
mod omission;
mod self_check;
mod windows;

pub(crate) use measure::measure;
pub(crate) use windows::Cuts;

/// Computes every figure of a run.
#[must_use]
pub fn summarize(record: &Record) -> Summary {
    let cuts = Cuts::observe(record);
    let whole = |source| measure(record, &cuts, &Phase::ALL, source);
    let users = whole(Source::Users);
    let self_check = self_check::self_check(record, users.latency_expected.p50);
    let accounting = account(record);
    let counts = counts(record);
    Summary {
        siege: siege_figures(record),
        users,
        prober: has_prober(record).then(|| whole(Source::Prober)),
        windows: observed_windows(record, &cuts),
        recovery_time: cuts.recovery_time(),
        recovered: cuts.recovered(),
        failed_seconds: failed_seconds(record),
        convergence: convergence(record),
        coordinated_omission: omission::coordinated_omission(record),
        journeys: counts.journeys,
        endpoints: counts.endpoints,
        hops: counts.hops,
        workers: record
            .load
            .as_ref()
            .map_or(Vec::new(), |load| load.workers.clone()),
        self_check,
        accounting,
    }
}

/// siege's block: the users alone, without the requests that siege would have cancelled.
fn siege_figures(record: &Record) -> Figures {
    let mut tally = Tally::default();
    let ticks = record.ticks.iter();
    for tick in ticks.filter(|tick| tick.source == Source::Users && !tick.draining) {
        tally.merge(&tick.siege);
    }
    tally.figures(windows::load_length(record))
}

fn has_prober(record: &Record) -> bool {
    record.run.plan.load.prober.is_some()
        || record
            .ticks
            .iter()
            .any(|tick| tick.source == Source::Prober)
}

fn observed_windows(record: &Record, cuts: &Cuts) -> Vec<Window> {
    let window = |phase: Phase| {
        let (start, end) = cuts.span(phase)?;
        let measured = |source| measure(record, cuts, &[phase], source);
        Some(Window {
            phase,
            start,
            end,
            users: measured(Source::Users),
            prober: has_prober(record).then(|| measured(Source::Prober)),
        })
    };
    Phase::ALL.into_iter().filter_map(window).collect()
}

fn failed_seconds(record: &Record) -> u64 {
    let source = if has_prober(record) {
        Source::Prober
    } else {
        Source::Users
    };
    // The last tick before the load stops and a tick of the drain may name the same second.
    let mut seconds: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let ticks = record.ticks.iter();
    for tick in ticks.filter(|tick| tick.source == source && !tick.draining) {
        let (expected, ended) = seconds.entry(tick.second).or_default();
        *expected += tick.expected;
        *ended += tick.expected + tick.unexpected_total();
    }
    let failed = |(expected, ended): &&(u64, u64)| *expected == 0 && *ended > 0;
    seconds.values().filter(failed).count() as u64
}

fn convergence(record: &Record) -> BTreeMap<String, Option<f64>> {
    let asked = record.run.plan.invariants.iter();
    asked
        .map(|invariant| {
            let mut checked = record.invariants.iter();
            let checked = checked.find(|checked| checked.name == invariant.name);
            let settled = checked.filter(|checked| checked.settled && checked.error.is_none());
            let after = settled.map(|checked| checked.after.as_secs_f64());
            (invariant.name.clone(), after)
        })
        .collect()
}

/// What the ticks of both sources count besides requests, all of them together.
fn counts(record: &Record) -> Tick {
    let mut counts = Tick::new(Source::Users, 0, false);
    for tick in &record.ticks {
        counts.merge_counts(tick);
    }
    counts
}

fn account(record: &Record) -> Accounting {
    let sources = [Source::Users, Source::Prober].map(|source| account_of(record, source));
    let mut total = Accounting {
        // Each source by itself: two errors must not cancel each other out.
        holds: sources.iter().all(|account| account.holds),
        ..Accounting::default()
    };
    for account in sources {
        total.scheduled += account.scheduled;
        total.dropped += account.dropped;
        total.sent += account.sent;
        total.expected += account.expected;
        total.unexpected += account.unexpected;
        total.cut_off += account.cut_off;
        total.drained += account.drained;
    }
    total
}

fn account_of(record: &Record, source: Source) -> Accounting {
    let mut account = Accounting {
        cut_off: cut_off(record, source),
        ..Accounting::default()
    };
    let ticks = record.ticks.iter();
    for tick in ticks.filter(|tick| tick.source == source) {
        let unexpected = tick.unexpected_total();
        account.scheduled += tick.scheduled;
        account.dropped += tick.dropped;
        account.sent += tick.sent;
        account.expected += tick.expected;
        account.unexpected += unexpected;
        if tick.draining {
            account.drained += tick.expected + unexpected;
        }
    }
    account.holds = account.scheduled == account.sent + account.dropped
        && account.sent == account.expected + account.unexpected + account.cut_off;
    account
}

/// Requests of `source` still in flight when the drain ended.
fn cut_off(record: &Record, source: Source) -> u64 {
    let load = record.load.as_ref();
    load.and_then(|load| load.cut_off.get(&source).copied())
        .unwrap_or(0)
}

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
    /// The windows as observed, in order; empty ones are left out. They are made of whole
    /// seconds: a second that touches the faults at all belongs to the fault's window.
    pub windows: Vec<Window>,
    /// From the end of the last fault to steady service: the start of the first three whole
    /// seconds in a row in each of which something ended and everything that ended was as
    /// expected, users and prober together. Zero when the first whole second after the fault
    /// already begins them. `None` when there was no fault or service did not become steady
    /// (see `recovered`).
    pub recovery_time: Option<f64>,
    /// Whether service became steady after the last fault; `None` without a fault.
    pub recovered: Option<bool>,
    /// Whole seconds of the load in which no request of the prober (of the users, without a
    /// prober) ended as expected although some ended.
    pub failed_seconds: u64,
    /// How long the system took to settle after the load and the last undo, whichever was later, by
    /// invariant; `None`: it did not in its time, or nobody knows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub convergence: BTreeMap<String, Option<f64>>,
    /// What closed-loop users left out because they hung, where it makes a difference.
    pub coordinated_omission: Option<CoordinatedOmission>,
    /// The users' journeys, by name.
    pub journeys: BTreeMap<String, JourneyCount>,
    /// Requests of users and prober by the endpoint (pod) that was dialled, where it is known.
    pub endpoints: BTreeMap<String, EndpointCount>,
    /// Redirects that were followed; no requests of their own.
    pub hops: u64,
    /// The processes that sent.
    pub workers: Vec<WorkerAccount>,
    /// The accounting identity.
    pub accounting: Accounting,
    /// What the generator says about itself.
    pub self_check: SelfCheck,
}

/// What one source measured over some stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Length of the stretch in seconds, the drain left out.
    pub seconds: f64,
    /// Requests that ended (client-caused failures left out) or were cut off.
    pub requests: u64,
    /// Of those, as expected.
    pub expected: u64,
    /// The others by reason, client-caused ones included.
    pub unexpected: BTreeMap<Reason, u64>,
    /// In flight at the end of the drain; counted in the run's last window.
    pub cut_off: u64,
    /// expected / requests, percent.
    pub availability: Option<f64>,
    /// 95 % Wilson interval of the availability, percent.
    pub availability_interval: Option<(f64, f64)>,
    /// Expected answers per second of the load; those of the drain are left out.
    pub goodput: Option<f64>,
    /// Service time of expected answers.
    pub latency_expected: Percentiles,
    /// Service time of the others.
    pub latency_unexpected: Percentiles,
    /// Response time, from the intended send, of everything that ended; nothing of closed-loop
    /// users, who intend to send when they do.
    pub response: Percentiles,
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

/// What closed-loop users left out: at their usual pace they would have sent on while they hung
/// (Tene, How NOT to Measure Latency: coordinated omission). Of all the users' requests that
/// ended; times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CoordinatedOmission {
    /// The usual pace: from one send of a user to its next, the median service time and the mean
    /// pause.
    pub interval: f64,
    /// Requests that would have been sent at this pace and were not.
    pub missing: u64,
    /// Mean service time as measured.
    pub mean: f64,
    /// With the missing requests, each as long as its user would have waited.
    pub corrected_mean: f64,
    /// 99th percentile as measured.
    pub p99: f64,
    /// With the missing requests.
    pub corrected_p99: f64,
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

/// For each source: scheduled = sent + dropped; sent = expected + unexpected + cut off; Σ reasons = unexpected.
/// The figures are all sources together.
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
    /// Whether both equations hold for each source.
    pub holds: bool,
}

/// What the load generator says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfCheck {
    /// 99th percentile of the generator's own scheduling lag.
    pub lag_p99: Option<f64>,
    /// Median of the time from the intended send of open-model requests to their send.
    pub send_lag_p50: Option<f64>,
    /// Its 99th percentile.
    pub send_lag_p99: Option<f64>,
    /// Processor time per second of load and per available processor, percent.
    pub cpu_percent: Option<f64>,
    /// Processor time of the sending threads per second of load and thread, percent.
    pub sender_percent: Option<f64>,
    /// Seconds for which sending threads were ready to run and had no processor, in all.
    pub starved_seconds: Option<f64>,
    /// Seconds for which a control group's quota stopped the sending processes, in all.
    pub throttled_seconds: f64,
    /// File descriptors of the sending process.
    #[serde(default)]
    pub descriptors: Option<Used>,
    /// TCP sockets of the sending machine against the local ports for one destination.
    #[serde(default)]
    pub ports: Option<Used>,
    /// Requests per second that the generator managed against a server that does nothing, when it
    /// was tried.
    pub calibrated_rate: Option<f64>,
    /// Failures the generator itself caused.
    pub client_side_failures: u64,
    /// Seconds in which it was saturated.
    pub saturated_seconds: u64,
    /// Seconds of load.
    pub load_seconds: f64,
    /// Little's law: mean number of users in a request (of journeys under way, in an open model)
    /// by counting time …
    pub little_measured: Option<f64>,
    /// … and by multiplying rate and response time, think time included.
    pub little_expected: Option<f64>,
    /// Whether the figures can be the service's: nothing above voids the run.
    pub valid: bool,
    /// Why not, one line each.
    pub problems: Vec<String>,
    /// What to keep in mind although it voids nothing, one line each.
    pub notes: Vec<String>,
}
