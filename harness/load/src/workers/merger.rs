//! Folds what several workers tell into what one process would have told. Knows no clock and no
//! connection: it is told what came, and what can no longer be waited for.
//!
//! Counts are added and histograms merged, so nothing is lost or averaged. A second is handed out
//! when every worker that still sends has told it. What comes later than it could be waited for
//! is handed out as a further tick of its own second.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Add as _;
use std::time::Duration;

use holdfast_core::event::{Event, LoadFinished, Tick, Used, WorkerAccount};
use holdfast_core::histogram::Histogram;
use holdfast_core::outcome::{FailedRequest, Source};

use super::clock::Offset;
use super::machine::{Machine, processors_of_all};
use crate::recorder::FAILURES_KEPT;

/// What a worker said that no worker says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Nonsense {
    #[error("it told of something that no load tells")]
    Event,
    #[error("it told seconds of a load that it does not send, or no longer")]
    Tick,
    #[error("it told second {told} when second {due} was due")]
    Second { told: u32, due: u32 },
    #[error("it stopped or finished a load out of turn")]
    Order,
    #[error("by its figures more requests ended than were sent")]
    MoreEndedThanSent,
}

/// The sum of what workers tell.
#[derive(Debug)]
pub(crate) struct Merger {
    workers: Vec<Worker>,
    phase: Phase,
    /// The first second of the phase that has not been handed out.
    next: u32,
    /// Seconds of the load, once it has stopped.
    seconds_sent: u32,
    /// What has been told and not handed out; the drain's seconds come after the load's.
    waiting: BTreeMap<(Phase, u32, Source), Tick>,
    in_flight: BTreeMap<Source, u64>,
    unexpected: u64,
    failures_told: u64,
    told: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Sending,
    Draining,
    /// Nothing more will be told.
    Over,
}

/// What is known of one worker.
#[derive(Debug)]
struct Worker {
    index: u32,
    machine: Machine,
    offset: Offset,
    phase: Phase,
    /// By source, the second it tells next.
    next: BTreeMap<Source, u32>,
    in_flight: BTreeMap<Source, u64>,
    sent: u64,
    /// Failed requests of which no tick has told yet: they count only with their tick.
    failures: VecDeque<FailedRequest>,
    /// Requests that failed by its ticks and were not told one by one.
    failures_due: u64,
    account: Option<LoadFinished>,
    lost: Option<String>,
}

impl Merger {
    /// Awaits the account of one worker for each machine and clock, all sources together: the
    /// first one has those that cannot be shared out.
    pub(crate) fn new(workers: Vec<(Machine, Offset)>, sources: &[Source]) -> Self {
        let worker = |(index, (machine, offset))| Worker::new(index, machine, offset, sources);
        Self {
            workers: (0..).zip(workers).map(worker).collect(),
            phase: Phase::Sending,
            next: 0,
            seconds_sent: 0,
            waiting: BTreeMap::new(),
            in_flight: sources.iter().map(|source| (*source, 0)).collect(),
            unexpected: 0,
            failures_told: 0,
            told: Vec::new(),
        }
    }

    /// Takes in what worker `index` says.
    pub(crate) fn take(&mut self, index: usize, event: Event) -> Result<(), Nonsense> {
        let worker = &mut self.workers[index];
        match event {
            Event::LoadStarted => {}
            Event::Tick(tick) => {
                worker.count(&tick)?;
                self.unexpected += tick.unexpected_total();
                self.put(*tick);
                self.tell_failures(index);
            }
            Event::RequestFailed(failed) => {
                // Of one worker no more are kept than of all.
                if (worker.failures.len() as u64) < FAILURES_KEPT {
                    worker.failures.push_back(failed);
                }
                self.tell_failures(index);
            }
            Event::LoadStopped => worker.stop()?,
            Event::LoadFinished(account) => worker.finish(*account)?,
            Event::RunStarted(_)
            | Event::PhaseStarted(_)
            | Event::UndoRecorded { .. }
            | Event::FaultInjected { .. }
            | Event::FaultRecovered { .. }
            | Event::FaultFailed { .. }
            | Event::Observed(_)
            | Event::InvariantsChecked(_)
            | Event::Stopped(_)
            | Event::RunFinished { .. } => return Err(Nonsense::Event),
        }
        self.advance();
        Ok(())
    }

    /// Goes on without worker `index`, unless its account is complete. What it told counts.
    pub(crate) fn lose(&mut self, index: usize, words: &str) {
        let worker = &mut self.workers[index];
        if worker.phase != Phase::Over {
            worker.phase = Phase::Over;
            worker.lost = Some(words.to_owned());
            worker.failures.clear();
            self.advance();
        }
    }

    /// Hands out the seconds before `second` with what is known of them.
    pub(crate) fn wait_no_longer_for(&mut self, second: u32) {
        while self.phase != Phase::Over && self.next < second && self.knows_later() {
            self.hand_out();
        }
    }

    /// Whether worker `index` has nothing more to tell.
    pub(crate) fn is_over(&self, index: usize) -> bool {
        self.workers[index].phase == Phase::Over
    }

    /// What has to be told since this was last asked.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.told)
    }

    /// Keeps a tick until its second is complete. One that is too late goes out alone.
    fn put(&mut self, mut tick: Tick) {
        let phase = if tick.draining {
            tick.second = tick.second.max(self.first_drained());
            Phase::Draining
        } else {
            Phase::Sending
        };
        if phase == self.phase && tick.second < self.next {
            self.tell(tick);
            return;
        }
        match self.waiting.entry((phase, tick.second, tick.source)) {
            Entry::Vacant(place) => drop(place.insert(tick)),
            Entry::Occupied(mut place) => place.get_mut().merge(&tick),
        }
    }

    /// Hands out what is complete.
    fn advance(&mut self) {
        while self.phase != Phase::Over {
            let phase = self.phase;
            let telling = self.workers.iter().filter(|worker| worker.phase == phase);
            if let Some(complete) = telling.map(Worker::complete).min() {
                while self.next < complete {
                    self.hand_out();
                }
                return;
            }
            while self.knows_later() {
                self.hand_out();
            }
            match phase {
                Phase::Sending => self.begin_drain(),
                Phase::Draining | Phase::Over => self.finish(),
            }
        }
    }

    /// Whether something of this phase waits.
    fn knows_later(&self) -> bool {
        let mut phases = self.waiting.keys().map(|(phase, ..)| *phase);
        phases.any(|phase| phase == self.phase)
    }

    fn hand_out(&mut self) {
        let sources: Vec<Source> = self.in_flight.keys().copied().collect();
        for source in sources {
            if let Some(tick) = self.waiting.remove(&(self.phase, self.next, source)) {
                self.tell(tick);
            }
        }
        self.next += 1;
    }

    fn tell(&mut self, mut tick: Tick) {
        let in_flight = self.in_flight.entry(tick.source).or_default();
        *in_flight += tick.sent;
        *in_flight -= tick.expected + tick.unexpected_total();
        tick.in_flight = *in_flight;
        self.told.push(Event::Tick(Box::new(tick)));
    }

    /// The last second of the load may have a second tick, the drain's. What a worker that stopped
    /// earlier than the others drained before counts into it.
    fn first_drained(&self) -> u32 {
        self.seconds_sent.saturating_sub(1)
    }

    fn begin_drain(&mut self) {
        self.told.push(Event::LoadStopped);
        self.phase = Phase::Draining;
        self.seconds_sent = self.next;
        self.next = self.first_drained();
        for tick in std::mem::take(&mut self.waiting).into_values() {
            self.put(tick);
        }
    }

    /// Tells of each failed request that a tick has told of, up to the bound of a run.
    fn tell_failures(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        while worker.failures_due > 0
            && let Some(failed) = worker.failures.pop_front()
        {
            worker.failures_due -= 1;
            if self.failures_told < FAILURES_KEPT {
                self.failures_told += 1;
                self.told.push(Event::RequestFailed(failed));
            }
        }
    }

    fn finish(&mut self) {
        self.phase = Phase::Over;
        let account = Box::new(self.account());
        self.told.push(Event::LoadFinished(account));
    }

    /// The accounts of all workers as one.
    fn account(&self) -> LoadFinished {
        let accounts = || self.workers.iter().filter_map(|one| one.account.as_ref());
        let sum = |figure: fn(&LoadFinished) -> f64| {
            accounts().map(figure).fold(0.0, |sum, one| sum + one)
        };
        // Whoever is lost is known to have lived to the end of its last second.
        let seconds_told = Duration::from_secs(u64::from(self.seconds_sent));
        let elapsed = accounts().map(|one| one.elapsed).max();
        let elapsed = elapsed.unwrap_or(seconds_told);
        let user_seconds = sum(|one| one.mean_users * one.elapsed.as_secs_f64());
        let saturated: BTreeSet<u32> = accounts()
            .flat_map(|one| one.saturated_seconds.iter().copied())
            .collect();
        let rates = accounts().map(|one| one.calibrated_rate);
        let processors = self.workers.iter().filter_map(|one| {
            let account = one.account.as_ref()?;
            Some((&one.machine, account.processors))
        });
        LoadFinished {
            elapsed,
            cut_off: self.cut_off(),
            failures_not_kept: self.unexpected - self.failures_told,
            lag: merged(accounts().map(|one| &one.lag)),
            send_lag: merged(accounts().map(|one| &one.send_lag)),
            cpu_seconds: sum(|one| one.cpu_seconds),
            sender_cpu_seconds: sum(|one| one.sender_cpu_seconds),
            processors: processors_of_all(processors),
            starved_seconds: accounts()
                .filter_map(|one| one.starved_seconds)
                .reduce(f64::add),
            throttled_seconds: sum(|one| one.throttled_seconds),
            descriptors: accounts()
                .map(|one| one.descriptors)
                .fold(None, Used::fuller),
            ports: accounts().map(|one| one.ports).fold(None, Used::fuller),
            saturated_seconds: saturated.into_iter().collect(),
            mean_users: user_seconds / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            pause_seconds: sum(|one| one.pause_seconds),
            calibrated_rate: rates.reduce(|sum, rate| Some(sum? + rate?)).flatten(),
            workers: self.workers.iter().map(Worker::own_account).collect(),
        }
    }

    /// What workers cut off themselves, and what those that are lost had in flight.
    fn cut_off(&self) -> BTreeMap<Source, u64> {
        let mut sum: BTreeMap<Source, u64> =
            self.in_flight.keys().map(|source| (*source, 0)).collect();
        for worker in &self.workers {
            let account = worker.account.as_ref().map(|account| &account.cut_off);
            for (source, count) in account.unwrap_or(&worker.in_flight) {
                *sum.entry(*source).or_default() += count;
            }
        }
        sum
    }
}

fn merged<'a>(each: impl Iterator<Item = &'a Histogram>) -> Histogram {
    each.fold(Histogram::default(), |mut sum, one| {
        sum.merge(one);
        sum
    })
}

impl Worker {
    fn new(index: u32, machine: Machine, offset: Offset, sources: &[Source]) -> Self {
        let share_of = |source: &&Source| **source == Source::Users || index == 0;
        let sources = sources.iter().filter(share_of);
        Self {
            index,
            machine,
            offset,
            phase: Phase::Sending,
            next: sources.clone().map(|source| (*source, 0)).collect(),
            in_flight: sources.map(|source| (*source, 0)).collect(),
            sent: 0,
            failures: VecDeque::new(),
            failures_due: 0,
            account: None,
            lost: None,
        }
    }

    /// Checks a tick and counts it.
    fn count(&mut self, tick: &Tick) -> Result<(), Nonsense> {
        let due = match (self.phase, tick.draining) {
            (Phase::Sending, false) | (Phase::Draining, true) => self.next.get(&tick.source),
            (Phase::Sending | Phase::Draining | Phase::Over, _) => None,
        };
        let due = *due.ok_or(Nonsense::Tick)?;
        // Whether the drain begins in the second in which the load stopped is known by its first
        // tick only.
        if tick.second != due && !(tick.draining && tick.second == due + 1) {
            let told = tick.second;
            return Err(Nonsense::Second { told, due });
        }
        let in_flight = self.in_flight.entry(tick.source).or_default();
        *in_flight = (*in_flight + tick.sent)
            .checked_sub(tick.expected + tick.unexpected_total())
            .ok_or(Nonsense::MoreEndedThanSent)?;
        self.next.insert(tick.source, tick.second + 1);
        self.sent += tick.sent;
        self.failures_due += tick.unexpected_total();
        Ok(())
    }

    /// The first second that it has not told completely.
    fn complete(&self) -> u32 {
        self.next.values().copied().min().unwrap_or(0)
    }

    fn stop(&mut self) -> Result<(), Nonsense> {
        if self.phase != Phase::Sending {
            return Err(Nonsense::Order);
        }
        self.phase = Phase::Draining;
        for next in self.next.values_mut() {
            *next = next.saturating_sub(1);
        }
        Ok(())
    }

    fn finish(&mut self, account: LoadFinished) -> Result<(), Nonsense> {
        if self.phase != Phase::Draining {
            return Err(Nonsense::Order);
        }
        self.phase = Phase::Over;
        self.account = Some(account);
        Ok(())
    }

    fn own_account(&self) -> WorkerAccount {
        let uncertainty = self.offset.uncertainty.as_secs_f64();
        WorkerAccount {
            index: self.index,
            sent: self.sent,
            clock_offset: Some((self.offset.seconds(), uncertainty)),
            lost: self.lost.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
