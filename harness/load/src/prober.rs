//! The open-model prober: sends at a fixed rate on new connections, whatever the answers, and so
//! sees an outage at its true length where closed-loop users hang in it.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::experiment::Connections;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::recorder::{Lane, Recorder};
use crate::users::Battery;

/// Deadline of each probe: long enough for any service that is up, short enough for one lost
/// connection attempt to fail within the seconds in which it happened.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Probes in flight beyond what the rate and the deadline explain: room for a late wake.
const SPARE_PROBES: u64 = 16;

/// The most probes that are ever in flight at a rate (per second). What is due beyond it is
/// dropped, and counted so.
pub(crate) fn most_probes(rate: f64) -> u64 {
    (rate * PROBE_TIMEOUT.as_secs_f64()).ceil() as u64 + SPARE_PROBES
}

/// Sends probes from the start of the load until it ends or ceases. Returns when the last one is
/// sent; those in flight go on under the battery's `alive`.
pub(crate) async fn run(
    battery: Arc<Battery>,
    recorder: Arc<Recorder>,
    rate: f64,
    duration: Duration,
) {
    let end = recorder.start + duration;
    let due = |number: u64| recorder.start + Duration::from_secs_f64(number as f64 / rate);
    let slots = Arc::new(tokio::sync::Semaphore::new(most_probes(rate) as usize));
    let mut number = 0;
    while due(number) < end {
        let intended = due(number);
        let waited = battery.cease.run_until_cancelled(sleep_until(intended));
        if waited.await.is_none() {
            break;
        }
        number += 1;
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            recorder.give_up(Lane::Prober);
            continue;
        };
        let Some(sent) = recorder.send(Lane::Prober) else {
            break;
        };
        let turn = (number - 1) as usize;
        let times = (intended, sent);
        let probe = probe(Arc::clone(&battery), Arc::clone(&recorder), turn, times);
        battery.alive.spawn(async move {
            probe.await;
            drop(slot);
        });
    }
    // Due before the stop, but never sent.
    let stopped = Instant::now().min(end);
    while due(number) < stopped {
        recorder.give_up(Lane::Prober);
        number += 1;
    }
}

/// Sends one probe and counts how it ended, unless it is cut off before.
async fn probe(
    battery: Arc<Battery>,
    recorder: Arc<Recorder>,
    turn: usize,
    (intended, sent): (Instant, Instant),
) {
    let mut client = Client::new(&battery.dialer, Connections::PerRequest);
    let legs = battery.itinerary.independent();
    let leg = legs[turn % legs.len()];
    let answer = client.perform(&leg.message, sent + PROBE_TIMEOUT);
    if let Some(outcome) = battery.cut.run_until_cancelled(answer).await {
        recorder.end(Lane::Prober, &leg.label, intended, sent, outcome);
    }
}
