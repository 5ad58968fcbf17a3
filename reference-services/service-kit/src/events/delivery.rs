//! What every bus does with one record: give it to the handler until that says yes, or never.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::measurements::Measurements;
use super::wire::Record;
use super::{Event, HandleError, Handler, Subscription, spans};

/// Between two attempts: at first, then twice as long each time up to the longest. Short, because a
/// service should be whole again soon after the database it waits for is.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// So many panics over one event are enough. One may be bad luck, such as a connection in the wrong
/// state; but no change of the world outside repairs a program that panics each time, and what is
/// behind the event must not wait for a new one.
const PANICS: u32 = 3;

/// What came of a record.
#[derive(Debug)]
pub(super) enum Delivery {
    Handled,
    /// It can never be handled, for this reason.
    Dead {
        reason: String,
        /// What log lines about it are written in.
        lines: tracing::Span,
    },
    /// It was not handled before the stop.
    Stopped,
}

impl Delivery {
    /// To be called in the span of what is dead.
    fn dead(reason: String) -> Self {
        Self::Dead {
            reason,
            lines: tracing::Span::current(),
        }
    }
}

/// Who is given records, and what is noted of that.
#[derive(Clone, Copy)]
pub(super) struct Recipient<'a> {
    /// What kind of broker they come from.
    pub(super) system: &'static str,
    pub(super) subscription: &'a Subscription,
    pub(super) handler: &'a dyn Handler,
    pub(super) measurements: &'a Measurements,
    pub(super) stop: &'a CancellationToken,
}

impl Recipient<'_> {
    /// Gives a record of `topic` to the handler, again after every failure that may pass. A stop ends
    /// the pause between two attempts, not an attempt.
    pub(super) async fn deliver(&self, record: &Record, topic: &str) -> Delivery {
        let mut event = match record.read() {
            Ok(event) => event,
            Err(error) => {
                let dead = || Delivery::dead(error.to_string());
                return record.span().in_scope(dead);
            }
        };
        let mut span = spans::process(&event, topic, self.subscription, self.system);
        event.traceparent = Some(span.traceparent());
        let delivery = self.attempt(&event, topic).instrument(event.span()).await;
        if let Delivery::Dead { reason, .. } = &delivery {
            span.fail("dead-letter", reason);
        }
        delivery
    }

    async fn attempt(&self, event: &Event, topic: &str) -> Delivery {
        let mut pauses = Pauses::default();
        let mut panics = 0;
        loop {
            // What the handler left half done is as after a kill, which it has to survive anyway.
            let handled = AssertUnwindSafe(async { self.handler.handle(event).await });
            match handled.catch_unwind().await {
                Ok(Ok(())) => {
                    self.measurements.consumed(topic, &event.kind);
                    return Delivery::Handled;
                }
                Err(panic) => {
                    let message = message(&*panic);
                    self.measurements.panicked(topic);
                    tracing::error!(topic, message, "the handler panicked");
                    panics += 1;
                    if panics == PANICS {
                        return Delivery::dead(format!("the handler panicked: {message}"));
                    }
                    self.measurements.retried(topic);
                }
                Ok(Err(HandleError::Poison(reason))) => return Delivery::dead(reason),
                Ok(Err(HandleError::Retry(error))) => {
                    self.measurements.retried(topic);
                    tracing::warn!(
                        topic,
                        error = &*error as &(dyn std::error::Error + 'static),
                        "not handled yet"
                    );
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return Delivery::Stopped,
                () = pauses.next() => {}
            }
        }
    }
}

/// What a panic had to say.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}

/// Pauses that grow.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    pub(super) async fn next(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}
