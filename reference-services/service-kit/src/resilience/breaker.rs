//! The circuit breaker as a pure state machine with the semantics of Hystrix: no clock, no task, no
//! lock. Time is handed in as the length of time since an origin of the caller's choice.
//!
//! - CLOSED: results are counted in buckets. A tick at the end of a bucket looks at the complete
//!   buckets of the window and opens the circuit when there are enough calls and too many failed.
//! - OPEN: every call is short-circuited until the sleep window is over; then one is let through.
//! - HALF-OPEN: that one is the trial. The first result decides: success closes the circuit and
//!   starts the window anew, anything else opens it again.

use std::collections::VecDeque;
use std::time::Duration;

/// When the circuit opens and how it closes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// The length of the window; a multiple of `bucket`.
    pub window: Duration,
    /// The length of a bucket, and the time from one evaluation to the next.
    pub bucket: Duration,
    /// Fewer calls than this in the window decide nothing.
    pub min_calls: u64,
    /// Opens when the percentage of failures, rounded down, is at least this.
    pub failure_percent: u64,
    /// How long the circuit stays open before a trial.
    pub sleep_window: Duration,
    pub stale_results: StaleResults,
}

/// What becomes of the result of a call that was admitted before the latest change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleResults {
    /// It counts like any other, so it can also decide a trial. Hystrix does this.
    Count,
    /// It is dropped.
    Ignore,
}

/// The state of a circuit, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitState {
    Closed,
    Open,
    HalfOpen,
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
}

/// The circuit is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortCircuited {
    /// The earliest time after which a call can be let through; zero while a trial is under way.
    pub retry_after: Duration,
}

/// One circuit.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    phase: Phase,
    /// Counts the changes of state.
    generation: u64,
    window: Window,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { since: Duration },
    HalfOpen,
}

impl Breaker {
    /// A closed circuit whose window starts at `now`.
    pub fn new(settings: BreakerSettings, now: Duration) -> Self {
        Self {
            window: Window::starting_at(now, &settings),
            settings,
            phase: Phase::Closed,
            generation: 0,
        }
    }

    pub fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen => CircuitState::HalfOpen,
        }
    }

    /// Whether a call may be made now. An open circuit whose sleep window is over becomes half-open
    /// and admits the one that asked.
    pub fn admit(&mut self, now: Duration) -> Result<Permit, ShortCircuited> {
        match self.phase {
            Phase::Closed => {}
            Phase::Open { since } => {
                let trial_after = since + self.settings.sleep_window;
                if now <= trial_after {
                    return Err(ShortCircuited {
                        retry_after: trial_after - now,
                    });
                }
                self.change(Phase::HalfOpen);
            }
            Phase::HalfOpen => {
                return Err(ShortCircuited {
                    retry_after: Duration::ZERO,
                });
            }
        }
        Ok(Permit {
            generation: self.generation,
        })
    }

    /// Takes note of how an admitted call ended.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a permit is used up by its outcome"
    )]
    pub fn record(&mut self, now: Duration, outcome: Outcome, permit: Permit) {
        let stale = permit.generation != self.generation;
        if stale && self.settings.stale_results == StaleResults::Ignore {
            return;
        }
        self.window.advance(now);
        match outcome {
            Outcome::Success => self.window.current.calls += 1,
            Outcome::Failure | Outcome::Timeout | Outcome::Rejected => {
                self.window.current.calls += 1;
                self.window.current.failures += 1;
            }
            // An abandoned call of an earlier state has no say in a trial either.
            Outcome::Abandoned if stale => return,
            Outcome::Abandoned => {}
        }
        if let Phase::HalfOpen = self.phase {
            if outcome == Outcome::Success {
                self.window = Window::starting_at(now, &self.settings);
                self.change(Phase::Closed);
            } else {
                self.change(Phase::Open { since: now });
            }
        }
    }

    /// Evaluates the complete buckets. To be called when [`Breaker::next_tick`] is due; being late
    /// only delays the decision.
    pub fn tick(&mut self, now: Duration) {
        self.window.advance(now);
        let Phase::Closed = self.phase else { return };
        let total = self.window.complete_total();
        let enough = total.calls > 0 && total.calls >= self.settings.min_calls;
        if enough && total.failures * 100 / total.calls >= self.settings.failure_percent {
            self.change(Phase::Open { since: now });
        }
    }

    /// When the current bucket will be complete.
    pub fn next_tick(&self) -> Duration {
        self.window.current_since + self.window.bucket
    }

    fn change(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: u64,
    failures: u64,
}

/// The last complete buckets, oldest first, and the one being filled.
#[derive(Debug)]
struct Window {
    bucket: Duration,
    length: u32,
    complete: VecDeque<Counts>,
    current: Counts,
    current_since: Duration,
}

impl Window {
    fn starting_at(now: Duration, settings: &BreakerSettings) -> Self {
        Self {
            bucket: settings.bucket,
            length: whole_buckets(settings.window, settings.bucket),
            complete: VecDeque::new(),
            current: Counts::default(),
            current_since: now,
        }
    }

    /// Completes every bucket that has ended by `now`.
    fn advance(&mut self, now: Duration) {
        let ended = whole_buckets(now.saturating_sub(self.current_since), self.bucket);
        // More empty buckets than fit into the window would only push one another out.
        for _ in 0..ended.min(self.length + 1) {
            self.complete.push_back(std::mem::take(&mut self.current));
            if self.complete.len() > self.length as usize {
                self.complete.pop_front();
            }
        }
        self.current_since += self.bucket * ended;
    }

    fn complete_total(&self) -> Counts {
        self.complete
            .iter()
            .fold(Counts::default(), |total, bucket| Counts {
                calls: total.calls + bucket.calls,
                failures: total.failures + bucket.failures,
            })
    }
}

/// How many buckets fit into `length`; a bucket of no length never ends.
fn whole_buckets(length: Duration, bucket: Duration) -> u32 {
    let buckets = length.as_nanos().checked_div(bucket.as_nanos());
    buckets.map_or(0, |buckets| u32::try_from(buckets).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
