//! The loop itself.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::{Event, RunStarted, Stamped, StopCause};
use holdfast_core::experiment::Phase;
use holdfast_core::plan::{Plan, PlannedFault};
use holdfast_core::record::Record;
use holdfast_core::verdict;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::asking;
use crate::drivers::{Drivers, Events};
use crate::faults;
use crate::load;
use crate::stop_condition::Watch;

/// What a run may take beyond its plan before it is ended.
const GRACE: Duration = Duration::from_secs(120);

/// Carries out the plan that `started` announces and returns the record of what happened.
///
/// `stop` ends the run early: interruptions stop the load at once, a stop condition or a halt reverts
/// the faults and keeps the load up through the recovery window. Either way every fault is undone, in
/// reverse order of injection, before this returns; dropping the sender means nobody will
/// interrupt. `sink` sees each event in order.
pub async fn run(
    started: RunStarted,
    drivers: &Drivers,
    mut stop: UnboundedReceiver<StopCause>,
    sink: &mut (dyn FnMut(&Stamped) + Send),
) -> Record {
    let plan = started.plan.clone();
    let (sender, mut incoming) = unbounded_channel();
    let events = Events::new(sender);
    let mut run = Run::new(&plan, drivers, &events, Record::new(started.clone()), sink);
    run.take(Event::RunStarted(Box::new(started)));

    let observing = CancellationToken::new();
    let observer = tokio::spawn({
        let (observer, events) = (Arc::clone(&drivers.observer), events.clone());
        let token = observing.clone();
        async move { observer.run(events, token).await }
    });
    let mut load = load::spawn(&plan, drivers, &events, &run.load_stop);
    let mut load_result = None;
    let deadline = run.began + plan.load.duration + plan.load.drain_limit + GRACE;

    while load_result.is_none() {
        let action_due = run.next_action_at();
        let stop_due = run.stop_load_at;
        tokio::select! {
            biased;
            Some(event) = incoming.recv() => run.take(event),
            Some(cause) = stop.recv() => run.stop(cause),
            Some(done) = run.actions.join_next(), if !run.actions.is_empty() => run.action_done(done),
            Some(Ok(words)) = run.watching.join_next() => run.stop(StopCause::StopCondition(words)),
            () = sleep_until(action_due.unwrap_or(deadline)), if action_due.is_some() => run.start_due_actions(),
            () = sleep_until(stop_due.unwrap_or(deadline)), if stop_due.is_some() => run.end_load(),
            result = &mut load => load_result = Some(result),
            () = sleep_until(deadline) => {
                run.stop(StopCause::LoadFailed("the run exceeded its deadline".to_owned()));
                load.abort();
                load_result = Some((&mut load).await);
            }
        }
    }
    if let Some(words) = load_result.and_then(load::failure) {
        run.stop(StopCause::LoadFailed(words));
    }
    // A stop condition ends the load, and there is none any more.
    run.watching.abort_all();
    run.revert_all(&mut incoming, &mut stop).await;
    run.ask_invariants(&mut incoming, &mut stop).await;
    observing.cancel();
    if observer.await.is_err() {
        tracing::warn!("the observer panicked; its observations are incomplete");
    }
    while let Ok(event) = incoming.try_recv() {
        run.take(event);
    }
    let residue = faults::residue(Arc::clone(&drivers.faults)).await;
    run.take(Event::RunFinished { residue });
    run.record
}

/// What has become of one fault of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultState {
    Planned,
    Injecting,
    Holding,
    Reverting,
    Reverted,
    /// Retries are used up, or it was never begun and never will be.
    Ended,
}

/// What a fault action's task reports.
enum ActionDone {
    Injected(usize, Result<(), String>),
    Recovered(usize, bool),
}

struct Run<'a> {
    plan: &'a Plan,
    drivers: &'a Drivers,
    events: &'a Events,
    sink: &'a mut (dyn FnMut(&Stamped) + Send),
    record: Record,
    began: Instant,
    load_began: Option<Instant>,
    load_stop: CancellationToken,
    /// A stop condition or a halt ended the run: the load goes on through the recovery window.
    observe_recovery: bool,
    /// Set once a stop condition's faults are undone: when the recovery window has been observed.
    stop_load_at: Option<Instant>,
    faults: Vec<FaultState>,
    /// Indices of faults in the order in which their injection began.
    injected: Vec<usize>,
    actions: JoinSet<ActionDone>,
    /// No further fault is begun; those in effect are undone.
    reverting: bool,
    watches: Vec<Watch>,
    /// The stop conditions that ask somebody, while the load is up.
    watching: JoinSet<String>,
    phase: Option<Phase>,
}

impl<'a> Run<'a> {
    fn new(
        plan: &'a Plan,
        drivers: &'a Drivers,
        events: &'a Events,
        record: Record,
        sink: &'a mut (dyn FnMut(&Stamped) + Send),
    ) -> Self {
        Self {
            plan,
            drivers,
            events,
            sink,
            record,
            began: Instant::now(),
            load_began: None,
            load_stop: CancellationToken::new(),
            observe_recovery: false,
            stop_load_at: None,
            faults: vec![FaultState::Planned; plan.faults.len()],
            injected: Vec::new(),
            actions: JoinSet::new(),
            reverting: false,
            watches: plan.stop_conditions.iter().filter_map(Watch::new).collect(),
            watching: JoinSet::new(),
            phase: None,
        }
    }

    /// Stamps an event, folds it, hands it on, and reacts to it.
    fn take(&mut self, event: Event) {
        let stamped = Stamped {
            at: self.began.elapsed(),
            event,
        };
        self.record.apply(&stamped);
        (self.sink)(&stamped);
        match stamped.event {
            Event::LoadStarted => {
                self.load_began = Some(Instant::now());
                self.watching = asking::watch_all(&self.plan.stop_conditions, self.drivers);
                self.enter(Phase::Baseline);
            }
            Event::FaultInjected { .. } => self.enter(Phase::Fault),
            Event::FaultRecovered { .. } if self.nothing_in_effect() => self.enter(Phase::Recovery),
            Event::Tick(tick) if !self.reverting => {
                let tripped = self
                    .watches
                    .iter_mut()
                    .find_map(|watch| watch.observe(&tick));
                if let Some(words) = tripped {
                    self.stop(StopCause::StopCondition(words));
                }
            }
            _ => {}
        }
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase != Some(phase) {
            self.phase = Some(phase);
            self.take(Event::PhaseStarted(phase));
        }
    }

    /// Ends the run early: no further fault, undo those in effect, and end the load, at once or
    /// after the recovery window.
    fn stop(&mut self, cause: StopCause) {
        self.observe_recovery = matches!(cause, StopCause::StopCondition(_) | StopCause::Halted(_));
        self.take(Event::Stopped(cause));
        self.reverting = true;
        self.watching.abort_all();
        if !self.observe_recovery {
            self.end_load();
        }
        self.start_due_actions();
    }

    fn end_load(&mut self) {
        self.stop_load_at = None;
        self.load_stop.cancel();
    }

    fn nothing_in_effect(&self) -> bool {
        self.record
            .faults
            .iter()
            .all(|fault| fault.injected.is_none() || fault.recovered.is_some())
    }

    /// The earliest time at which a fault is to be begun or undone.
    fn next_action_at(&self) -> Option<Instant> {
        let load_began = self.load_began?;
        if self.reverting {
            return None;
        }
        self.plan
            .faults
            .iter()
            .zip(&self.faults)
            .filter_map(|(fault, state)| match state {
                FaultState::Planned => Some(load_began + fault.start),
                FaultState::Holding => Some(load_began + fault.end),
                FaultState::Injecting
                | FaultState::Reverting
                | FaultState::Reverted
                | FaultState::Ended => None,
            })
            .min()
    }

    /// Begins and undoes what is due, and nothing if the baseline is not what it must be. While
    /// reverting, the faults in effect are undone one by one, the latest injected first.
    fn start_due_actions(&mut self) {
        if self.reverting {
            self.revert_next();
            return;
        }
        let Some(load_began) = self.load_began else {
            return;
        };
        let now = Instant::now();
        let mut planned = self.plan.faults.iter().zip(&self.faults);
        let begins = planned
            .any(|(fault, state)| *state == FaultState::Planned && load_began + fault.start <= now);
        if begins
            && self.injected.is_empty()
            && let Some(words) = verdict::baseline_unmet(&self.record)
        {
            self.stop(StopCause::BaselineUnmet(words));
            return;
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            match self.faults[index] {
                FaultState::Planned if load_began + fault.start <= now => self.begin_inject(index),
                FaultState::Holding if load_began + fault.end <= now => self.begin_recover(index),
                FaultState::Planned
                | FaultState::Holding
                | FaultState::Injecting
                | FaultState::Reverting
                | FaultState::Reverted
                | FaultState::Ended => {}
            }
        }
    }

    /// Undoes what is in effect, one fault after the other. One that ends by itself is only waited
    /// for, and keeps nothing else in effect.
    fn revert_next(&mut self) {
        while !self.changing() {
            let latest = self.injected.iter().rev().copied();
            let mut holding = latest.filter(|index| self.faults[*index] == FaultState::Holding);
            let Some(index) = holding.next() else {
                break;
            };
            self.begin_recover(index);
        }
        if self.observe_recovery && self.actions.is_empty() && self.stop_load_at.is_none() {
            self.stop_load_at = Some(Instant::now() + self.plan.windows.recovery);
        }
    }

    /// Whether a fault is being injected, or one that was held undone.
    fn changing(&self) -> bool {
        let mut faults = self.plan.faults.iter().zip(&self.faults);
        faults.any(|(fault, state)| match state {
            FaultState::Injecting => true,
            FaultState::Reverting => !fault.ends_by_itself(),
            FaultState::Planned
            | FaultState::Holding
            | FaultState::Reverted
            | FaultState::Ended => false,
        })
    }

    fn begin_inject(&mut self, index: usize) {
        self.faults[index] = FaultState::Injecting;
        self.injected.push(index);
        let (driver, fault, events) = self.action(index);
        self.actions.spawn(async move {
            ActionDone::Injected(index, faults::inject(driver, fault, events).await)
        });
    }

    fn begin_recover(&mut self, index: usize) {
        self.faults[index] = FaultState::Reverting;
        let (driver, fault, events) = self.action(index);
        self.actions.spawn(async move {
            ActionDone::Recovered(index, faults::recover(driver, fault, events).await)
        });
    }

    fn action(&self, index: usize) -> (Arc<dyn crate::drivers::FaultDriver>, PlannedFault, Events) {
        (
            Arc::clone(&self.drivers.faults),
            self.plan.faults[index].clone(),
            self.events.clone(),
        )
    }

    fn action_done(&mut self, done: Result<ActionDone, JoinError>) {
        match done.expect("fault actions catch their drivers' panics and are never aborted") {
            // A failed injection may have half happened: it is held, and undone like a whole one.
            ActionDone::Injected(index, result) => {
                self.faults[index] = FaultState::Holding;
                if let Err(words) = result {
                    self.stop(StopCause::FaultFailed(words));
                }
            }
            ActionDone::Recovered(index, true) => self.faults[index] = FaultState::Reverted,
            ActionDone::Recovered(index, false) => self.faults[index] = FaultState::Ended,
        }
        if self.reverting {
            self.revert_next();
        }
    }

    /// Undoes whatever is still in effect after the load has ended.
    async fn revert_all(
        &mut self,
        incoming: &mut UnboundedReceiver<Event>,
        stop: &mut UnboundedReceiver<StopCause>,
    ) {
        self.reverting = true;
        self.revert_next();
        while !self.actions.is_empty() {
            tokio::select! {
                biased;
                Some(event) = incoming.recv() => self.take(event),
                Some(cause) = stop.recv() => self.take(Event::Stopped(cause)),
                Some(done) = self.actions.join_next() => self.action_done(done),
            }
        }
    }

    /// Asks about the invariants, when there is a system whose answer means something. A person who
    /// ends the run ends the asking.
    async fn ask_invariants(
        &mut self,
        incoming: &mut UnboundedReceiver<Event>,
        stop: &mut UnboundedReceiver<StopCause>,
    ) {
        if !self.record.stopped.as_ref().is_none_or(has_run) {
            return;
        }
        let mut asking = asking::check_all(&self.plan.invariants, &self.drivers.http);
        while !asking.is_empty() {
            tokio::select! {
                biased;
                Some(event) = incoming.recv() => self.take(event),
                Some(cause) = stop.recv() => {
                    self.take(Event::Stopped(cause));
                    return;
                }
                Some(checked) = asking.join_next() => {
                    let checked = checked.expect("asking catches its client's panics and is not aborted");
                    self.take(Event::InvariantsChecked(Box::new(checked)));
                }
            }
        }
    }
}

/// Whether a run that ended for this cause has put the system through what was planned, or enough
/// of it for its data to tell something.
fn has_run(cause: &StopCause) -> bool {
    match cause {
        StopCause::StopCondition(_) | StopCause::Halted(_) | StopCause::FaultFailed(_) => true,
        StopCause::Interrupted
        | StopCause::Terminated
        | StopCause::LoadFailed(_)
        | StopCause::BaselineUnmet(_) => false,
    }
}
