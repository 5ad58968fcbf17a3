//! Counts every request exactly once and hands the counts out as one tick per source and second.
//!
//! The senders of each source write into its shard (a mutex and the ticks of the running second);
//! the one [`Collector`] empties them. The moment of an event is decided under its shard's lock, so
//! what is collected is final: nothing is ever counted into a second that has been handed out, and
//! nothing is sent after the shards were told to stop. One thread sends, so nobody waits for a lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use holdfast_core::event::{Event, JourneyEnd, Tick};
use holdfast_core::histogram::Histogram;
use holdfast_core::outcome::{FailedRequest, Sample, Source};
use holdfast_engine::Events;
use tokio::time::Instant;

use crate::client::Outcome;
use crate::generator::Punctuality;
use crate::listener::{Ended, Listener};

/// How many failed requests of a run are kept one by one; the others are only counted.
pub(crate) const FAILURES_KEPT: u64 = 1000;

/// The account of a running load.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// When the load began.
    pub(crate) start: Instant,
    /// When it stopped sending.
    stopped: OnceLock<Instant>,
    /// The last second of the plan: what ends in the sliver between it and the stop counts into it.
    last_second: u32,
    users: Mutex<Shard>,
    prober: Mutex<Shard>,
    failures: AtomicU64,
    user_micros: AtomicU64,
    pause_micros: AtomicU64,
    events: Events,
    listener: Option<Listener>,
}

/// What one source's senders counted since the last collection.
#[derive(Debug, Default)]
struct Shard {
    phase: Phase,
    /// The first second that has not been collected.
    open: u32,
    ticks: BTreeMap<u32, Tick>,
    /// When something was last sent or ended.
    latest: Option<Instant>,
    /// Of the requests that had an intended time; never collected.
    punctuality: Punctuality,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Sending,
    Draining,
    Closed,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// When it was sent.
    pub(crate) at: Instant,
    /// When it should have been, in an open model; closed-loop users send when they do.
    intended: Option<Instant>,
}

impl Recorder {
    /// An account from `start` on, for a load planned to last `duration`.
    pub(crate) fn begin(
        start: Instant,
        duration: Duration,
        events: Events,
        listener: Option<Listener>,
    ) -> Arc<Self> {
        let whole_seconds = u32::try_from(duration.as_nanos().div_ceil(1_000_000_000));
        Arc::new(Self {
            start,
            stopped: OnceLock::new(),
            last_second: whole_seconds.unwrap_or(u32::MAX).saturating_sub(1),
            users: Mutex::default(),
            prober: Mutex::default(),
            failures: AtomicU64::new(0),
            user_micros: AtomicU64::new(0),
            pause_micros: AtomicU64::new(0),
            events,
            listener,
        })
    }

    /// Counts a request as scheduled and sent, now, unless the load has stopped: then it must not
    /// be sent. `intended`: when it should have been, in an open model.
    pub(crate) fn send(&self, source: Source, intended: Option<Instant>) -> Option<Sent> {
        let mut shard = self.shard(source);
        if shard.phase != Phase::Sending {
            return None;
        }
        let now = Instant::now();
        shard.latest = Some(now);
        let tick = shard.tick(self, source, now);
        tick.scheduled += 1;
        tick.sent += 1;
        if let Some(intended) = intended {
            let lag = now.saturating_duration_since(intended);
            shard.punctuality.record(self.second(now), lag);
        }
        Some(Sent { at: now, intended })
    }

    /// Counts a request that should have been sent and was not.
    pub(crate) fn give_up(&self, source: Source) {
        let mut shard = self.shard(source);
        if shard.phase == Phase::Sending {
            let tick = shard.tick(self, source, Instant::now());
            tick.scheduled += 1;
            tick.dropped += 1;
        }
    }

    /// Counts the end of a request and returns when that was.
    pub(crate) fn end(
        &self,
        source: Source,
        request: &str,
        sent: Sent,
        outcome: Outcome,
    ) -> Instant {
        let mut shard = self.shard(source);
        let ended = Instant::now();
        shard.latest = Some(ended);
        if shard.phase == Phase::Closed {
            return ended;
        }
        let answered = ended - outcome.inspection;
        let sample = Sample {
            service_time: answered - sent.at,
            response_time: sent.intended.map(|intended| answered - intended),
            status: outcome.status,
            body_bytes: outcome.body_bytes,
            failure: outcome.failure.as_ref().map(|failure| failure.reason),
            hops: outcome.hops,
            endpoint: outcome.endpoint,
        };
        let draining = shard.phase == Phase::Draining;
        shard.tick(self, source, ended).count(&sample);
        drop(shard);
        if let Some(listener) = &self.listener
            && source == Source::Users
            && !draining
        {
            listener.hear(&Ended {
                request,
                sample: &sample,
            });
        }
        let Some(failure) = outcome.failure else {
            return ended;
        };
        if self.failures.fetch_add(1, Ordering::Relaxed) < FAILURES_KEPT {
            self.events.send(Event::RequestFailed(FailedRequest {
                source,
                ended: ended - self.start,
                service_time: sample.service_time,
                reason: failure.reason,
                status: sample.status,
                request: request.to_owned(),
                endpoint: sample.endpoint.as_deref().map(str::to_owned),
                detail: failure.detail,
                draining,
            }));
        }
        ended
    }

    /// Counts the end of a journey.
    pub(crate) fn end_journey(&self, source: Source, name: &str, end: JourneyEnd) {
        let mut shard = self.shard(source);
        if shard.phase != Phase::Closed {
            // As good as now, and the clock has been read twice for the request already.
            let at = shard.latest.unwrap_or(self.start);
            shard.tick(self, source, at).count_journey(name, end);
        }
    }

    /// How late a source's requests were sent that had an intended time, and the seconds in which
    /// too many of them were.
    pub(crate) fn punctuality(&self, source: Source) -> (Histogram, Vec<u32>) {
        self.shard(source).punctuality.finish()
    }

    /// Adds a think pause that began at `from`, up to now or to the stop of the load.
    pub(crate) fn add_pause(&self, from: Instant) {
        self.pause_micros
            .fetch_add(self.micros_since(from), Ordering::Relaxed);
    }

    /// All think pauses together, in seconds.
    pub(crate) fn pause_seconds(&self) -> f64 {
        self.pause_micros.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Adds the time a user was at work since `from`, up to now or to the stop of the load.
    pub(crate) fn add_presence(&self, from: Instant) {
        self.user_micros
            .fetch_add(self.micros_since(from), Ordering::Relaxed);
    }

    fn micros_since(&self, from: Instant) -> u64 {
        let until = self.stopped.get().copied().unwrap_or_else(Instant::now);
        let micros = until.saturating_duration_since(from).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    /// The average number of users at work over `elapsed`.
    pub(crate) fn mean_users(&self, elapsed: Duration) -> f64 {
        let seconds = elapsed.as_secs_f64();
        let busy = self.user_micros.load(Ordering::Relaxed) as f64 / 1e6;
        if seconds > 0.0 { busy / seconds } else { 0.0 }
    }

    /// Failures that were counted but not kept one by one.
    pub(crate) fn failures_not_kept(&self) -> u64 {
        let failures = self.failures.load(Ordering::Relaxed);
        failures.saturating_sub(FAILURES_KEPT)
    }

    fn shard(&self, source: Source) -> MutexGuard<'_, Shard> {
        let shard = match source {
            Source::Users => &self.users,
            Source::Prober => &self.prober,
        };
        // A panic while counting leaves whole numbers behind; the count goes on.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn second(&self, at: Instant) -> u32 {
        let seconds = at.saturating_duration_since(self.start).as_secs();
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }
}

impl Shard {
    fn tick(&mut self, recorder: &Recorder, source: Source, at: Instant) -> &mut Tick {
        let second = match self.phase {
            Phase::Sending => recorder.second(at).min(recorder.last_second),
            Phase::Draining | Phase::Closed => recorder.second(at),
        };
        let second = second.max(self.open);
        let draining = self.phase != Phase::Sending;
        self.ticks
            .entry(second)
            .or_insert_with(|| Tick::new(source, second, draining))
    }
}

/// Empties a recorder, second by second.
#[derive(Debug)]
pub(crate) struct Collector {
    recorder: Arc<Recorder>,
    sources: Vec<Source>,
    phase: Phase,
    /// The next second to hand out.
    next: u32,
    in_flight: BTreeMap<Source, u64>,
    /// Requests that were sent, as far as they are handed out.
    pub(crate) sent: u64,
}

impl Collector {
    /// Collects for the given sources from the first second on.
    pub(crate) fn new(recorder: Arc<Recorder>, sources: Vec<Source>) -> Self {
        let in_flight = sources.iter().map(|source| (*source, 0)).collect();
        Self {
            recorder,
            sources,
            phase: Phase::Sending,
            next: 0,
            in_flight,
            sent: 0,
        }
    }

    /// When the second that runs now is over.
    pub(crate) fn next_boundary(&self) -> Instant {
        self.recorder.start + Duration::from_secs(u64::from(self.next) + 1)
    }

    /// Hands out every second that is over. Before the stop the plan's last second stays open.
    pub(crate) fn collect(&mut self) {
        let now = self.recorder.second(Instant::now());
        let until = match self.phase {
            Phase::Sending => now.min(self.recorder.last_second),
            Phase::Draining | Phase::Closed => now,
        };
        let until = until.max(self.next);
        self.hand_out(until, until, self.phase);
    }

    /// Stops the sending: afterwards no request is counted as sent, and what ends belongs to the
    /// drain. Hands out the last tick and returns when the load stopped.
    pub(crate) fn stop(&mut self) -> Instant {
        let stopped = *self.recorder.stopped.get_or_init(Instant::now);
        let now = self.recorder.second(stopped);
        let until = now.min(self.recorder.last_second).max(self.next) + 1;
        // A second that the stop cuts in two has a second tick, the drain's.
        self.hand_out(until, now.min(until), Phase::Draining);
        stopped
    }

    /// Ends the account: hands out the rest of the drain and returns what is still in flight, by
    /// source.
    pub(crate) fn close(mut self) -> BTreeMap<Source, u64> {
        let now = self.recorder.second(Instant::now()).max(self.next);
        let drained = self.in_flight.values().all(|in_flight| *in_flight == 0);
        // The end of a journey can come after that of its last request.
        let mut sources = self.sources.iter();
        let counted = sources.all(|source| self.recorder.shard(*source).ticks.is_empty());
        let until = if drained && counted {
            self.next
        } else {
            now + 1
        };
        self.hand_out(until, until, Phase::Closed);
        self.in_flight
    }

    /// Hands out the seconds before `until`, and lets the shards go on in `phase` from second
    /// `open` on.
    fn hand_out(&mut self, until: u32, open: u32, phase: Phase) {
        let draining = self.phase != Phase::Sending;
        let mut collected: BTreeMap<(u32, Source), Tick> = (self.next..until)
            .flat_map(|second| self.sources.iter().map(move |source| (second, *source)))
            .map(|(second, source)| ((second, source), Tick::new(source, second, draining)))
            .collect();
        for source in &self.sources {
            let mut shard = self.recorder.shard(*source);
            // A shard that changes its phase leaves nothing behind in the old one.
            let later = if phase == self.phase {
                shard.ticks.split_off(&until)
            } else {
                BTreeMap::new()
            };
            let ready = std::mem::replace(&mut shard.ticks, later);
            shard.open = open;
            shard.phase = phase;
            drop(shard);
            for (second, tick) in ready {
                let whole = collected.get_mut(&(second.min(until - 1), *source));
                let whole = whole.expect("shards open no second before `next`");
                whole.merge(&tick);
            }
        }
        for ((_, source), mut tick) in collected {
            let in_flight = self.in_flight.entry(source).or_default();
            *in_flight += tick.sent;
            self.sent += tick.sent;
            *in_flight -= tick.expected + tick.unexpected_total();
            tick.in_flight = *in_flight;
            self.recorder.events.send(Event::Tick(Box::new(tick)));
        }
        self.next = open;
        self.phase = phase;
    }
}
