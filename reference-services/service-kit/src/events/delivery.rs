//! What every bus does with one record: give it to the handler until that says yes, or never.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::measurements::Measurements;
use super::wire::Record;
use super::{Event, HandleError, Handler};

/// Between two attempts: at first, then twice as long each time up to the longest. Short, because a
/// service should be whole again soon after the database it waits for is.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What came of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Handled,
    /// It can never be handled, for this reason.
    Dead(String),
    /// It was not handled before the stop.
    Stopped,
}

/// Gives `record` of `topic` to `handler`, again after every failure that may pass. A stop ends the
/// pause between two attempts, not an attempt.
pub(super) async fn deliver(
    record: &Record,
    topic: &str,
    handler: &dyn Handler,
    measurements: &Measurements,
    stop: &CancellationToken,
) -> Delivery {
    let event = match record.read() {
        Ok(event) => event,
        Err(error) => return Delivery::Dead(error.to_string()),
    };
    attempt(&event, topic, handler, measurements, stop)
        .instrument(event.span())
        .await
}

async fn attempt(
    event: &Event,
    topic: &str,
    handler: &dyn Handler,
    measurements: &Measurements,
    stop: &CancellationToken,
) -> Delivery {
    let mut pauses = Pauses::default();
    loop {
        match handler.handle(event).await {
            Ok(()) => {
                measurements.consumed(topic, &event.kind);
                return Delivery::Handled;
            }
            Err(HandleError::Poison(reason)) => return Delivery::Dead(reason),
            Err(HandleError::Retry(error)) => {
                measurements.retried(topic);
                tracing::warn!(
                    topic,
                    error = &*error as &(dyn std::error::Error + 'static),
                    "not handled yet"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Delivery::Stopped,
            () = pauses.next() => {}
        }
    }
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
