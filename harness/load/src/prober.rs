//! The open-model prober: sends at a fixed rate on new connections, whatever the answers, and so
//! sees an outage at its true length where closed-loop users hang in it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::experiment::Connections;
use holdfast_core::outcome::Source;
use tokio::sync::Semaphore;

use crate::client::Client;
use crate::metronome::{self, Begun};
use crate::recorder::{Recorder, Sent};
use crate::timetable::Timetable;
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
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(most_probes(rate) as usize));
    let mut turns = 0..;
    let begin = |intended| {
        let turn = turns.next().unwrap_or_default();
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            return Begun::NoRoom;
        };
        let Some(sent) = recorder.send(Source::Prober, Some(intended)) else {
            return Begun::NoRoom;
        };
        let probe = probe(Arc::clone(&battery), Arc::clone(&recorder), turn, sent);
        battery.alive.spawn(async move {
            probe.await;
            drop(slot);
        });
        Begun::Yes
    };
    let times = Timetable::steady(rate, duration);
    metronome::keep(times, Source::Prober, &recorder, &battery.cease, begin).await
}

/// Sends one probe and counts how it ended, unless it is cut off before.
async fn probe(battery: Arc<Battery>, recorder: Arc<Recorder>, turn: u64, sent: Sent) {
    let mut client = Client::new(&battery.dialer, Connections::PerRequest);
    let mut single = battery.itinerary.single(turn);
    let answer = client.perform(single.message(), sent.at + PROBE_TIMEOUT);
    if let Some(mut outcome) = battery.cut.run_until_cancelled(answer).await {
        single.inspect(&mut outcome);
        recorder.end(Source::Prober, single.label(), sent, outcome);
    }
}
