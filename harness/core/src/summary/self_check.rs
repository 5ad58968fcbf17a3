//! What the load generator says about itself: whether the figures can be the service's.

use std::time::Duration;

use super::windows::load_length;
use super::{SelfCheck, cut_off};
use crate::event::{LoadFinished, Tick};
use crate::experiment::Model;
use crate::outcome::Source;
use crate::record::Record;
use crate::words;

/// More saturated seconds than this share of the load void the run.
const SATURATION_LIMIT: f64 = 0.05;

/// A sending thread that ran for more than this share of the time is worth a note …
const BUSY_PERCENT: f64 = 90.0;

/// … where half of the expected answers took less than this.
const QUICK_SECONDS: f64 = 0.001;

/// A mean scheduling lag above this many seconds (the timers alone are half a millisecond late) is
/// worth a note …
const LATE_SECONDS: f64 = 0.002;

/// … where it is more than this share of the median service time.
const LATE_SHARE: f64 = 0.1;

/// How far the two sides of Little's law may be apart by chance and rounding.
const LITTLE_TOLERANCE: f64 = 0.05;

/// A user is neither in a request nor in a pause while its next request is prepared: up to so many
/// seconds for each request.
const GAP_SECONDS: f64 = 0.002;

/// `median`: of the service times of the users' expected answers, in seconds.
pub(super) fn self_check(record: &Record, median: Option<f64>) -> SelfCheck {
    let load_seconds = load_length(record).as_secs_f64();
    let mut check = SelfCheck {
        load_seconds,
        client_side_failures: record.ticks.iter().map(Tick::client_side_total).sum(),
        ..SelfCheck::default()
    };
    if check.client_side_failures > 0 {
        check.problems.push(format!(
            "the generator itself made {} requests fail (no local port or file descriptor left)",
            check.client_side_failures
        ));
    }
    match &record.load {
        Some(load) => tell_of(record, load, median, &mut check),
        None => check
            .problems
            .push("the load generator gave no account of itself".to_owned()),
    }
    check.valid = check.problems.is_empty();
    check
}

/// What the generator's own account says.
fn tell_of(record: &Record, load: &LoadFinished, median: Option<f64>, check: &mut SelfCheck) {
    let seconds = |lag: Option<Duration>| lag.map(|lag| lag.as_secs_f64());
    check.lag_p99 = seconds(load.lag.percentile(99.0));
    check.send_lag_p50 = seconds(load.send_lag.percentile(50.0));
    check.send_lag_p99 = seconds(load.send_lag.percentile(99.0));
    check.starved_seconds = load.starved_seconds;
    check.throttled_seconds = load.throttled_seconds;
    check.descriptors = load.descriptors;
    check.ports = load.ports;
    check.calibrated_rate = load.calibrated_rate;
    check.saturated_seconds = load.saturated_seconds.len() as u64;
    let elapsed = check.load_seconds;
    if elapsed > 0.0 {
        check.cpu_percent =
            (load.processors > 0.0).then(|| load.cpu_seconds / elapsed / load.processors * 100.0);
        // Each process has one.
        let threads = load.workers.len().max(1) as f64;
        check.sender_percent = Some(load.sender_cpu_seconds / elapsed / threads * 100.0);
        // A lost worker's part of the account is missing.
        if load.workers.iter().all(|worker| worker.lost.is_none()) {
            compare_little(record, load, check);
        }
        note_busy_sender(record, median, check);
        note_late_wakes(load, median, check);
    }
    if check.saturated_seconds as f64 > SATURATION_LIMIT * elapsed {
        check.problems.push(format!(
            "generator saturated {} of {elapsed:.0} s",
            check.saturated_seconds
        ));
    }
}

/// A closed load drives its generator as hard as it goes; that voids nothing, but what is quicker
/// than the generator's own work cannot be told from it.
fn note_busy_sender(record: &Record, median: Option<f64>, check: &mut SelfCheck) {
    match record.run.plan.load.model {
        Model::Users(_) => {}
        Model::Arrivals(_) => return,
    }
    let busy = check.sender_percent;
    let quick = median.is_some_and(|median| median < QUICK_SECONDS);
    if let Some(percent) = busy.filter(|percent| quick && *percent >= BUSY_PERCENT) {
        check.notes.push(format!(
            "the generator's own thread was busy {percent:.0} %: times below 1 ms are also its own"
        ));
    }
}

/// A generator that wakes late reads its answers late. It voids nothing where the answers take
/// longer by far.
fn note_late_wakes(load: &LoadFinished, median: Option<f64>, check: &mut SelfCheck) {
    let late = load.lag.mean().map_or(0.0, |lag| lag.as_secs_f64());
    let matters = median.is_some_and(|median| late > LATE_SHARE * median);
    if late > LATE_SECONDS && matters {
        check.notes.push(format!(
            "the generator woke {} late on average: times are longer by about as much",
            words::seconds(late)
        ));
    }
}

/// Little's law: the users inside a request or a pause (the journeys under way, in an open model),
/// on average, are the rate of requests times the time each takes. Counted over the load itself: of
/// a request that ended in the drain only the part before the load's end.
fn compare_little(record: &Record, load: &LoadFinished, check: &mut SelfCheck) {
    let elapsed = check.load_seconds;
    let plan = &record.run.plan.load;
    let mut busy = load.pause_seconds;
    let mut drained = 0;
    let mut ended_in_time = 0;
    let ticks = record.ticks.iter();
    for tick in ticks.filter(|tick| tick.source == Source::Users) {
        let ended = tick.expected + tick.unexpected_total();
        if tick.draining {
            // On average they ended in the middle of their second.
            let after_end = (f64::from(tick.second) + 0.5 - elapsed).max(0.0);
            busy += (service_seconds(tick) - ended as f64 * after_end).max(0.0);
            drained += ended;
        } else {
            busy += service_seconds(tick);
            ended_in_time += ended;
        }
    }
    let expected = busy / elapsed;
    // What cannot be known: the gaps, and at the end of the load the half second of each drained
    // request and all of each cut-off one.
    let unknown = ended_in_time as f64 * GAP_SECONDS
        + drained as f64 * 0.5
        + cut_off(record, Source::Users) as f64 * plan.longest_timeout().as_secs_f64();
    let tolerance = LITTLE_TOLERANCE * load.mean_users.max(expected) + unknown / elapsed;
    check.little_measured = Some(load.mean_users);
    check.little_expected = Some(expected);
    if (expected - load.mean_users).abs() > tolerance {
        let who = match plan.model {
            Model::Users(_) => "users",
            Model::Arrivals(_) => "journeys under way",
        };
        check.problems.push(format!(
            "Little's law does not hold: {:.2} {who} by counting, {expected:.2} by rate and time",
            load.mean_users
        ));
    }
}

/// Sum of the service times of every request that ended in the tick.
fn service_seconds(tick: &Tick) -> f64 {
    [&tick.latency_expected, &tick.latency_unexpected]
        .into_iter()
        .filter_map(|histogram| Some(histogram.mean()?.as_secs_f64() * histogram.count() as f64))
        .sum()
}
