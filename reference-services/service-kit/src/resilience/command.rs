//! One kind of call to another service, behind breaker, bulkhead and timeout in Hystrix's order: the
//! breaker is asked first, then the bulkhead, and the timeout runs from the moment of submission.

use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::breaker::{Breaker, BreakerSettings, Outcome, Permit, ShortCircuited, StaleResults};
use super::measurements::{CallOutcome, Measurements};
use crate::detached;
use crate::env::Env;
use crate::precise;

/// The settings of a [`Command`].
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// `None` waits for ever.
    pub timeout: Option<Duration>,
    pub release: Release,
    /// How many calls may be under way at once; `None` is no limit. There is no queue.
    pub bulkhead: Option<usize>,
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

impl CommandSettings {
    /// Reads, for the prefix `PAY`: `PAY_TIMEOUT` (0 = none), `PAY_TIMEOUT_RELEASE` (`on_completion`
    /// or `on_timeout`), `PAY_BULKHEAD` (0 = none), `PAY_BREAKER` (`on` or `off`) and
    /// `PAY_BREAKER_{WINDOW,BUCKET,FAILURE_PERCENT,MIN_CALLS,SLEEP,STALE_RESULTS}`. The defaults are
    /// Hystrix's.
    pub fn from_env(env: &mut Env, prefix: &str) -> Self {
        let timeout = env.duration(&format!("{prefix}_TIMEOUT"), Duration::from_secs(1));
        let release = env.choice(
            &format!("{prefix}_TIMEOUT_RELEASE"),
            Release::OnCompletion,
            &[
                ("on_completion", Release::OnCompletion),
                ("on_timeout", Release::OnTimeout),
            ],
        );
        let bulkhead = env.parse(&format!("{prefix}_BULKHEAD"), 10);
        let breaker = BreakerSettings::from_env(env, &format!("{prefix}_BREAKER"));
        let enabled = env.choice(
            &format!("{prefix}_BREAKER"),
            true,
            &[("on", true), ("off", false)],
        );
        Self {
            timeout: (!timeout.is_zero()).then_some(timeout),
            release,
            bulkhead: (bulkhead > 0).then_some(bulkhead),
            breaker: enabled.then_some(breaker),
        }
    }
}

impl BreakerSettings {
    fn from_env(env: &mut Env, prefix: &str) -> Self {
        let settings = Self {
            window: env.duration(&format!("{prefix}_WINDOW"), Duration::from_secs(10)),
            bucket: env.duration(&format!("{prefix}_BUCKET"), Duration::from_millis(500)),
            min_calls: env.parse(&format!("{prefix}_MIN_CALLS"), 20),
            failure_percent: env.parse(&format!("{prefix}_FAILURE_PERCENT"), 50),
            sleep_window: env.duration(&format!("{prefix}_SLEEP"), Duration::from_secs(5)),
            stale_results: env.choice(
                &format!("{prefix}_STALE_RESULTS"),
                StaleResults::Count,
                &[
                    ("count", StaleResults::Count),
                    ("ignore", StaleResults::Ignore),
                ],
            ),
        };
        let remainder = settings
            .window
            .as_nanos()
            .checked_rem(settings.bucket.as_nanos());
        if settings.window.is_zero() || remainder != Some(0) {
            env.complain(format!(
                "{prefix}_WINDOW={:?}: must be a whole multiple of {prefix}_BUCKET={:?}",
                settings.window, settings.bucket
            ));
        }
        settings
    }
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
    bulkhead: Option<Arc<Semaphore>>,
    breaker: Option<Mutex<Breaker>>,
    origin: Instant,
    measurements: Measurements,
}

impl Command {
    /// A command whose circuit is closed. Must be called inside a tokio runtime, where a task ticks
    /// the breaker for as long as the command exists.
    pub fn start(settings: CommandSettings, measurements: Measurements) -> Self {
        let shared = Arc::new(Shared {
            timeout: settings.timeout,
            release: settings.release,
            bulkhead: settings.bulkhead.map(|size| Arc::new(Semaphore::new(size))),
            breaker: settings
                .breaker
                .map(|settings| Mutex::new(Breaker::new(settings, Duration::ZERO))),
            origin: Instant::now(),
            measurements,
        });
        if shared.breaker.is_some() {
            tokio::spawn(tick_while_used(Arc::downgrade(&shared)));
        }
        Self(shared)
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
        let attempt = match self.admit() {
            Ok(permit) => Attempt {
                shared: Arc::clone(&self.0),
                permit,
                submitted,
            },
            Err(refused) => {
                self.0
                    .measurements
                    .ended(CallOutcome::ShortCircuited, submitted.elapsed());
                return Err(CallError::BreakerOpen {
                    retry_after: refused.retry_after,
                });
            }
        };
        let Some(place) = self.enter_bulkhead() else {
            attempt.end(Outcome::Rejected, CallOutcome::Rejected);
            return Err(CallError::BulkheadFull);
        };
        let call = async move {
            let result = call.await;
            drop(place);
            result
        };
        let timeout = self.0.timeout;
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

    fn admit(&self) -> Result<Option<Permit>, ShortCircuited> {
        self.0
            .with_breaker(|breaker, now| breaker.admit(now))
            .transpose()
    }

    /// A place in the bulkhead, or `None` when it is full.
    fn enter_bulkhead(&self) -> Option<Place> {
        let permit = match &self.0.bulkhead {
            Some(bulkhead) => Some(Arc::clone(bulkhead).try_acquire_owned().ok()?),
            None => None,
        };
        let in_use = self.0.measurements.permits_in_use().clone();
        in_use.inc();
        Some(Place {
            _permit: permit,
            in_use,
        })
    }
}

impl Shared {
    /// Applies one step to the breaker, if there is one, and reports the change of state it caused.
    fn with_breaker<T>(&self, step: impl FnOnce(&mut Breaker, Duration) -> T) -> Option<T> {
        let mut breaker = self
            .breaker
            .as_ref()?
            .lock()
            .expect("no step of the breaker panics");
        let before = breaker.state();
        let value = step(&mut breaker, self.origin.elapsed());
        let after = breaker.state();
        if before != after {
            // Still under the lock, so that changes are reported in their order.
            self.measurements.transition(before, after);
        }
        Some(value)
    }
}

async fn tick_while_used(shared: Weak<Shared>) {
    while let Some(due) = shared.upgrade().and_then(|shared| {
        shared
            .with_breaker(|breaker, _now| breaker.next_tick())
            .map(|due| shared.origin + due)
    }) {
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

/// A place in the bulkhead, free again when dropped.
struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    in_use: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_use.dec();
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
