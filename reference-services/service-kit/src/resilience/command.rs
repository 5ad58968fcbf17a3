//! One kind of call to another service, behind breaker, timeout and bulkhead in this order: the breaker
//! is asked first, and the timeout runs from then on, the wait for a place in the bulkhead included.

use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;

use super::breaker::{Breaker, BreakerSettings, CircuitState, Outcome, Permit, ShortCircuited};
use super::bulkhead::{Bulkhead, BulkheadSettings};
use super::fleet::Fleet;
use super::measurements::{CallOutcome, Measurements, reason_label, state_label};
use crate::{detached, precise};

/// The settings of a [`Command`].
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// `None` waits for ever.
    pub timeout: Option<Duration>,
    pub release: Release,
    /// How many calls may be under way at once; `None` is no limit.
    pub bulkhead: Option<BulkheadSettings>,
    /// `None` is no breaker.
    pub breaker: Option<BreakerSettings>,
}

/// When a call that timed out frees its place in the bulkhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// When the call itself ends, although nobody waits for it any more: a thread in a blocking read
    /// cannot be interrupted. Hystrix and resilience4j do this.
    OnCompletion,
    /// At once: the call is dropped.
    OnTimeout,
}

/// Why a call gave no value.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E> {
    #[error("the circuit is open")]
    BreakerOpen { retry_after: Duration },
    #[error("too many calls are under way")]
    BulkheadFull,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Failed(E),
}

/// One kind of call. Cheap to clone; clones share the circuit and the bulkhead.
#[derive(Clone, Debug)]
pub struct Command(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    timeout: Option<Duration>,
    release: Release,
    bulkhead: Bulkhead,
    circuit: Option<Mutex<Circuit>>,
    origin: Instant,
    measurements: Measurements,
}

#[derive(Debug)]
struct Circuit {
    breaker: Breaker,
    /// The circuits that say how many of them may be open at once; `None` while it is none of them.
    fleet: Option<Arc<Fleet>>,
}

impl Circuit {
    fn leave_fleet(&mut self) {
        if let Some(fleet) = self.fleet.take() {
            fleet.left(self.breaker.state());
        }
    }
}

impl Command {
    /// A command whose circuit is closed. Must be called inside a tokio runtime, where a task ticks
    /// the breaker, if it needs ticks, for as long as the command exists.
    pub fn start(settings: CommandSettings, measurements: Measurements) -> Self {
        let shared = Arc::new(Shared {
            timeout: settings.timeout,
            release: settings.release,
            bulkhead: Bulkhead::new(
                settings.bulkhead,
                measurements.permits_in_use(),
                measurements.waiting(),
            ),
            circuit: settings.breaker.map(|settings| {
                Mutex::new(Circuit {
                    breaker: Breaker::new(settings, Duration::ZERO),
                    fleet: None,
                })
            }),
            origin: Instant::now(),
            measurements,
        });
        if shared.next_tick().is_some() {
            tokio::spawn(tick_while_used(Arc::downgrade(&shared)));
        }
        Self(shared)
    }

    /// The value of the header [`CIRCUIT`](super::CIRCUIT), if there is a circuit: its state, why it is in
    /// it, unless that is the first one, and how often it has changed.
    pub fn circuit(&self) -> Option<HeaderValue> {
        self.0.with_breaker(|breaker, _| {
            let state = state_label(breaker.state());
            let reason = breaker.reason().map(reason_label);
            let reason = reason.map_or(String::new(), |reason| format!(";reason={reason}"));
            let value = format!("{state}{reason};changes={}", breaker.changes());
            HeaderValue::try_from(value).expect("letters, digits and signs")
        })
    }

    /// Makes `call` unless breaker or bulkhead forbid it, and waits for its result until the timeout.
    /// An `Err` of the call is a failure of the other service; a refusal for a reason of business
    /// belongs into `T`.
    pub async fn run<T, E, F>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let submitted = Instant::now();
        let admitted = self.0.with_breaker(Breaker::admit).transpose();
        let permit = admitted.map_err(|refused| {
            let shown = CallOutcome::ShortCircuited;
            self.0.measurements.ended(shown, submitted.elapsed());
            let ShortCircuited { retry_after } = refused;
            CallError::BreakerOpen { retry_after }
        })?;
        self.run_admitted(permit, submitted, call).await
    }

    /// The same without asking or telling the breaker.
    pub(super) async fn run_regardless<T, E, F>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.run_admitted(None, Instant::now(), call).await
    }

    async fn run_admitted<T, E, F>(
        &self,
        permit: Option<Permit>,
        submitted: Instant,
        call: F,
    ) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let attempt = Attempt {
            shared: Arc::clone(&self.0),
            permit,
            submitted,
        };
        let timeout = self.0.timeout;
        let place = match within(timeout, submitted, self.0.bulkhead.enter()).await {
            Ok(Some(place)) => place,
            // Also when the timeout was over while it waited: the other service never heard of it.
            Ok(None) | Err(TimedOut(_)) => {
                attempt.end(Outcome::Rejected, CallOutcome::Rejected);
                return Err(CallError::BulkheadFull);
            }
        };
        // So that a call that goes on after its timeout still counts as one under way.
        let under_way = (place, Arc::clone(&self.0));
        let call = async move {
            let result = call.await;
            drop(under_way);
            result
        };
        let result = match self.0.release {
            Release::OnTimeout => within(timeout, submitted, call).await,
            Release::OnCompletion => within(timeout, submitted, to_completion(call)).await,
        };
        match result {
            Ok(Ok(value)) => {
                attempt.end(Outcome::Success, CallOutcome::Success);
                Ok(value)
            }
            Ok(Err(error)) => {
                attempt.end(Outcome::Failure, CallOutcome::Failure);
                Err(CallError::Failed(error))
            }
            Err(TimedOut(limit)) => {
                attempt.end(Outcome::Timeout, CallOutcome::Timeout);
                Err(CallError::Timeout(limit))
            }
        }
    }

    /// Whether the breaker would let a call through now.
    pub(super) fn check(&self) -> Result<(), ShortCircuited> {
        let check = |breaker: &mut Breaker, now| breaker.check(now);
        self.0.with_breaker(check).unwrap_or(Ok(()))
    }

    /// Whether the bulkhead has a place that is free now.
    pub(super) fn has_place(&self) -> bool {
        self.0.bulkhead.has_place()
    }

    /// Makes the circuit one of `fleet`, unless it is already. If it is open, and one too many for the
    /// others, it is closed.
    pub(super) fn join(&self, fleet: &Arc<Fleet>) {
        self.0.with_circuit(|circuit, now| {
            if circuit.fleet.is_none() {
                // To the others it is as if it opened now.
                fleet.after_step(CircuitState::Closed, &mut circuit.breaker, now);
                circuit.fleet = Some(Arc::clone(fleet));
            }
        });
    }

    /// Makes the circuit one of its own, whose state is nothing to others.
    pub(super) fn leave(&self) {
        self.0.with_circuit(|circuit, _now| circuit.leave_fleet());
    }

    /// Whether no call is under way, not even one whose caller has given up.
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Shared {
    /// Applies one step to the breaker, if there is one, as far as the others of its fleet allow.
    fn with_breaker<T>(&self, step: impl FnOnce(&mut Breaker, Duration) -> T) -> Option<T> {
        self.with_circuit(|Circuit { breaker, fleet }, now| {
            let before = breaker.state();
            let value = step(breaker, now);
            if let Some(fleet) = fleet {
                fleet.after_step(before, breaker, now);
            }
            value
        })
    }

    /// Changes the circuit, if there is one, and reports the change of state.
    fn with_circuit<T>(&self, change: impl FnOnce(&mut Circuit, Duration) -> T) -> Option<T> {
        let circuit = self.circuit.as_ref()?;
        let mut circuit = circuit.lock().expect("no step of the breaker panics");
        let (before, changes) = (circuit.breaker.state(), circuit.breaker.changes());
        let value = change(&mut circuit, self.origin.elapsed());
        let breaker = &circuit.breaker;
        if breaker.changes() != changes
            && let Some(reason) = breaker.reason()
        {
            // Still under the lock, so that changes are reported in their order.
            self.measurements
                .transition(before, breaker.state(), reason);
        }
        Some(value)
    }

    /// When the breaker wants its next tick; `None` if it wants none.
    fn next_tick(&self) -> Option<Instant> {
        let due = self.with_breaker(|breaker, _now| breaker.next_tick())??;
        Some(self.origin + due)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(circuit) = &mut self.circuit {
            let circuit = circuit.get_mut().expect("no step of the breaker panics");
            circuit.leave_fleet();
        }
    }
}

async fn tick_while_used(shared: Weak<Shared>) {
    while let Some(due) = shared.upgrade().and_then(|shared| shared.next_tick()) {
        tokio::time::sleep_until(due.into()).await;
        if let Some(shared) = shared.upgrade() {
            shared.with_breaker(Breaker::tick);
        }
    }
}

/// An admitted call. If its caller goes away, dropping it still tells the breaker.
struct Attempt {
    shared: Arc<Shared>,
    permit: Option<Permit>,
    submitted: Instant,
}

impl Attempt {
    fn end(mut self, outcome: Outcome, shown: CallOutcome) {
        self.record(outcome);
        self.shared
            .measurements
            .ended(shown, self.submitted.elapsed());
    }

    fn record(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            self.shared
                .with_breaker(|breaker, now| breaker.record(now, outcome, permit));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.record(Outcome::Abandoned);
    }
}

struct TimedOut(Duration);

async fn within<F: Future>(
    timeout: Option<Duration>,
    submitted: Instant,
    call: F,
) -> Result<F::Output, TimedOut> {
    let Some(limit) = timeout else {
        return Ok(call.await);
    };
    tokio::select! {
        biased;
        result = call => Ok(result),
        () = precise::sleep_until(submitted + limit) => Err(TimedOut(limit)),
    }
}

/// Runs `call` on a task of its own, so that it goes on when nobody waits for it any more.
async fn to_completion<F>(call: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    detached::result(tokio::spawn(call)).await
}

#[cfg(test)]
mod tests;
