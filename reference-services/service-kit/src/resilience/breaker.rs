//! The circuit breaker as a pure state machine: no clock, no task, no lock. Time is handed in as the
//! length of time since an origin of the caller's choice.
//!
//! - CLOSED: results are remembered in a window. When it shows too many failures or slow calls, the
//!   circuit opens: on a tick or with the result that was one too many.
//! - OPEN: every call is short-circuited until the time is over. Then the circuit becomes half-open
//!   and lets trials through, or, without trials, it closes.
//! - HALF-OPEN: the trials close the circuit, with an empty window, or open it again.
//!
//! [`BreakerSettings`] says which of these rules apply; [`Preset`](super::Preset) knows those of
//! Hystrix, resilience4j, Polly, gobreaker and Envoy.

mod settings;
mod window;

use std::time::Duration;

pub use settings::{
    BreakerSettings, Decide, Evaluate, Growth, OpenFor, Slow, StaleResults, Trials, Window,
};
use window::{CallResult, Counts, History, whole};

/// The state of a circuit, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitState {
    Closed,
    Open,
    HalfOpen,
}

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    FailureRate,
    SlowRate,
    ConsecutiveFailures,
    /// It has been open for long enough.
    SleepOver,
    TrialsPassed,
    TrialsFailed,
    /// Trials without a result were given up for others.
    TrialsLost,
    /// It opened, and was closed again by [`Breaker::keep_closed`].
    TooManyOut,
}

/// How an admitted call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure,
    Timeout,
    /// The bulkhead was full.
    Rejected,
    /// The caller went away before there was a result. It tells nothing about the callee, so it is
    /// not counted, but a trial that ends so must not leave the circuit half-open for ever.
    Abandoned,
}

/// The right to make one call, to be handed back with its outcome.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a trial whose outcome is not recorded keeps the circuit half-open"]
pub struct Permit {
    generation: u64,
    admitted: Duration,
}

/// The circuit is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortCircuited {
    /// The earliest time after which a call can be let through; zero while trials are under way.
    pub retry_after: Duration,
}

/// One circuit.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    phase: Phase,
    reason: Option<Reason>,
    /// Counts the changes of state, and how often trials were given up.
    generation: u64,
    history: History,
    closed_since: Duration,
    /// Openings that are not forgotten.
    openings: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open {
        until: Duration,
    },
    HalfOpen {
        trials: Trials,
        since: Duration,
        admitted: u64,
        results: Counts,
    },
}

impl Breaker {
    /// A closed circuit whose window starts at `now`.
    pub fn new(settings: BreakerSettings, now: Duration) -> Self {
        Self {
            history: History::starting_at(now, &settings.window),
            settings,
            phase: Phase::Closed,
            reason: None,
            generation: 0,
            closed_since: now,
            openings: 0,
        }
    }

    pub fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Why the circuit came to its state; `None` as long as it has always been closed.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// How often there was a reason for another state, or for other trials.
    pub fn changes(&self) -> u64 {
        self.generation
    }

    /// Whether a call would be admitted now. Changes nothing.
    pub fn check(&self, now: Duration) -> Result<(), ShortCircuited> {
        let retry_after = match self.phase {
            Phase::Open { until } if now <= until => until - now,
            Phase::HalfOpen {
                trials,
                since,
                admitted,
                ..
            } if admitted >= trials.permits && !trials.are_lost(since, now) => Duration::ZERO,
            Phase::Closed | Phase::Open { .. } | Phase::HalfOpen { .. } => return Ok(()),
        };
        Err(ShortCircuited { retry_after })
    }

    /// Whether a call may be made now. An open circuit whose time is over becomes half-open and
    /// admits the one that asked.
    pub fn admit(&mut self, now: Duration) -> Result<Permit, ShortCircuited> {
        self.check(now)?;
        match (&mut self.phase, self.settings.trials) {
            (Phase::Closed, _) => {}
            (Phase::Open { .. }, Some(trials)) => self.try_out(trials, now, Reason::SleepOver),
            (Phase::Open { .. }, None) => self.close(now, Reason::SleepOver),
            (
                Phase::HalfOpen {
                    trials, admitted, ..
                },
                _,
            ) if *admitted < trials.permits => {
                *admitted += 1;
            }
            (&mut Phase::HalfOpen { trials, .. }, _) => {
                self.try_out(trials, now, Reason::TrialsLost);
            }
        }
        Ok(Permit {
            generation: self.generation,
            admitted: now,
        })
    }

    /// Takes note of how an admitted call ended. Its duration is the time since it was admitted.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a permit is used up by its outcome"
    )]
    pub fn record(&mut self, now: Duration, outcome: Outcome, permit: Permit) {
        let stale = permit.generation != self.generation;
        if stale && self.settings.stale_results == StaleResults::Ignore {
            return;
        }
        if outcome == Outcome::Abandoned {
            // An abandoned call of an earlier state has no say in a trial either.
            if !stale {
                self.abandoned(now);
            }
            return;
        }
        let duration = now.saturating_sub(permit.admitted);
        let slow = self.settings.slow;
        let result = CallResult {
            failed: outcome != Outcome::Success,
            slow: slow.is_some_and(|slow| duration > slow.longer_than),
        };
        self.history.note(now, result);
        match &mut self.phase {
            Phase::Closed if self.settings.window.is_evaluated_after(result) => self.evaluate(now),
            Phase::Closed | Phase::Open { .. } => {}
            Phase::HalfOpen {
                trials, results, ..
            } => {
                results.add(result);
                let (trials, results) = (*trials, *results);
                match self.settings.verdict(trials, results, result) {
                    Some(true) => self.close(now, Reason::TrialsPassed),
                    Some(false) => self.open(now, Reason::TrialsFailed),
                    None => {}
                }
            }
        }
    }

    /// Evaluates the complete buckets. To be called when [`Breaker::next_tick`] is due; being late
    /// only delays the decision.
    pub fn tick(&mut self, now: Duration) {
        if let History::Buckets(buckets) = &mut self.history {
            buckets.advance(now);
            if let (Phase::Closed, Some(_)) = (self.phase, self.next_tick()) {
                self.evaluate(now);
            }
        }
    }

    /// When the current bucket will be complete; `None` for a circuit that needs no ticks.
    pub fn next_tick(&self) -> Option<Duration> {
        match (&self.history, self.settings.window) {
            (
                History::Buckets(buckets),
                Window::Time {
                    evaluate: Evaluate::Tick,
                    ..
                },
            ) => Some(buckets.current_ends()),
            _ => None,
        }
    }

    /// Undoes an opening that must not be: the circuit is closed, and its window begins now.
    pub fn keep_closed(&mut self, now: Duration) {
        self.openings = self.openings.saturating_sub(1);
        self.close(now, Reason::TooManyOut);
    }

    fn evaluate(&mut self, now: Duration) {
        let settings = &self.settings;
        let exceeded = match &self.history {
            History::Buckets(buckets) => settings.exceeded_by_window(buckets.counts()),
            History::Ring(ring) => settings.exceeded_by_window(ring.counts),
            History::Streak { failures, limit } => {
                (failures >= limit).then_some(Reason::ConsecutiveFailures)
            }
        };
        if let Some(reason) = exceeded {
            self.open(now, reason);
        }
    }

    fn abandoned(&mut self, now: Duration) {
        if let Phase::HalfOpen {
            trials, admitted, ..
        } = &mut self.phase
        {
            match trials.decide {
                Decide::First => self.open(now, Reason::TrialsFailed),
                Decide::AllRate | Decide::AllSuccess => *admitted -= 1,
            }
        }
    }

    fn open(&mut self, now: Duration, reason: Reason) {
        let OpenFor { first, growth } = self.settings.open;
        let length = match growth {
            Growth::Constant => first,
            Growth::Linear { limit, decay } => {
                if let Phase::Closed = self.phase {
                    let forgotten = whole(now.saturating_sub(self.closed_since), decay);
                    self.openings = self.openings.saturating_sub(forgotten);
                }
                self.openings = self.openings.saturating_add(1);
                first.saturating_mul(self.openings).min(limit)
            }
        };
        let until = now.saturating_add(length);
        self.change(Phase::Open { until }, reason);
    }

    fn try_out(&mut self, trials: Trials, now: Duration, reason: Reason) {
        let phase = Phase::HalfOpen {
            trials,
            since: now,
            admitted: 1,
            results: Counts::default(),
        };
        self.change(phase, reason);
    }

    fn close(&mut self, now: Duration, reason: Reason) {
        self.history = History::starting_at(now, &self.settings.window);
        self.closed_since = now;
        self.change(Phase::Closed, reason);
    }

    fn change(&mut self, phase: Phase, reason: Reason) {
        self.phase = phase;
        self.reason = Some(reason);
        self.generation += 1;
    }
}

impl Trials {
    fn are_lost(&self, since: Duration, now: Duration) -> bool {
        self.lost_after
            .is_some_and(|limit| now > since.saturating_add(limit))
    }
}

impl Window {
    fn is_evaluated_after(&self, result: CallResult) -> bool {
        match self {
            Self::Time { evaluate, .. } => match evaluate {
                Evaluate::Tick => false,
                Evaluate::Result => true,
                Evaluate::Failure => result.failed,
            },
            Self::Count { .. } => true,
            Self::Consecutive { .. } => result.failed,
        }
    }
}

impl BreakerSettings {
    /// Which limit the results of a window exceed, if there are enough of them.
    fn exceeded_by_window(&self, counts: Counts) -> Option<Reason> {
        let enough = match self.window {
            Window::Count { calls } => self.min_calls.min(calls),
            Window::Time { .. } | Window::Consecutive { .. } => self.min_calls,
        };
        if counts.calls >= enough {
            self.exceeded(counts)
        } else {
            None
        }
    }

    /// Which limit these results exceed. None exceed nothing.
    fn exceeded(&self, counts: Counts) -> Option<Reason> {
        // Equal to comparing a percentage, rounded down or not: the limit is a whole number.
        let is_share = |part: u64, percent: u64| part * 100 >= percent * counts.calls;
        if counts.calls == 0 {
            None
        } else if is_share(counts.failures, self.failure_percent) {
            Some(Reason::FailureRate)
        } else if self
            .slow
            .is_some_and(|slow| is_share(counts.slow, slow.percent))
        {
            Some(Reason::SlowRate)
        } else {
            None
        }
    }

    /// Whether the trials passed, once that is decided.
    fn verdict(&self, trials: Trials, results: Counts, latest: CallResult) -> Option<bool> {
        match trials.decide {
            Decide::First => Some(!latest.failed),
            Decide::AllSuccess if latest.failed => Some(false),
            Decide::AllSuccess => (results.calls >= trials.permits).then_some(true),
            Decide::AllRate => {
                let enough = self.min_calls.min(trials.permits);
                (results.calls >= enough).then(|| self.exceeded(results).is_none())
            }
        }
    }
}

#[cfg(test)]
mod tests;
