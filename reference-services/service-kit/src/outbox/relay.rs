//! Publishes what is in the outbox.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Batch, OutboxMetrics, bury, longest_waiting, remove};
use crate::database::{Database, Exclusive};
use crate::events::{BusError, EventBus};
use crate::with_causes;

/// How many events are published at once at most.
const LARGEST_BATCH: usize = 200;

/// How often the outbox is looked into although nobody said that it holds anything: other replicas
/// put events into it too.
const POLL_PERIOD: Duration = Duration::from_millis(200);

/// How often a replica that stands by asks whether it is to publish now.
const STANDBY_PERIOD: Duration = Duration::from_millis(500);

/// How long after the word to stop what is left is still published.
const LAST_ROUND: Duration = Duration::from_secs(1);

/// Publishes the events of an outbox in order, each at least once, and removes them.
///
/// Of several replicas on one database one publishes and the others stand by: two at once would
/// break the order. A replica that loses its database while it publishes may overlap with its
/// successor for one batch, which consumers see as events given twice.
pub struct Relay {
    database: Arc<Database>,
    bus: Arc<dyn EventBus>,
    topics: &'static [&'static str],
    metrics: OutboxMetrics,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}

impl Relay {
    /// `topics` are those that the events go to.
    pub fn new(
        database: Arc<Database>,
        bus: Arc<dyn EventBus>,
        topics: &'static [&'static str],
        metrics: OutboxMetrics,
    ) -> Self {
        Self {
            database,
            bus,
            topics,
            metrics,
        }
    }

    /// Publishes until `stop`, whatever fails in the meantime. Its topics are made as soon as the bus is
    /// there, so that whoever listens to them need not wait for an event.
    pub async fn run(&self, stop: &CancellationToken) {
        let making = stop.run_until_cancelled(self.bus.make_topics(self.topics));
        tokio::join!(making, self.publish(stop));
    }

    async fn publish(&self, stop: &CancellationToken) {
        let mut patience = Patience::default();
        while !stop.is_cancelled() {
            let pause = match self.database.try_exclusive("outbox").await {
                Ok(None) => STANDBY_PERIOD,
                Ok(Some(mut turn)) => match self.publish_all(&mut turn, stop).await {
                    Ok(()) => return,
                    Err(error) => patience.after_failure("reading the outbox", &error),
                },
                Err(error) => patience.after_failure("reaching the outbox", &error),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn publish_all(
        &self,
        turn: &mut Exclusive,
        stop: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        let mut patience = Patience::default();
        let last_round = async {
            stop.cancelled().await;
            sleep(LAST_ROUND).await;
        };
        tokio::pin!(last_round);
        let mut size = LARGEST_BATCH;
        loop {
            let batch = longest_waiting(&mut turn.connection(), size).await?;
            if batch.events.is_empty() {
                self.metrics.nothing_waits();
                tokio::select! {
                    biased;
                    () = self.database.outbox_filled() => {}
                    () = stop.cancelled() => return Ok(()),
                    () = sleep(POLL_PERIOD) => {}
                }
                continue;
            }
            let published = tokio::select! {
                biased;
                published = self.bus.publish(&batch.events) => published,
                () = &mut last_round => return Ok(()),
            };
            match published {
                Ok(()) => {
                    patience = Patience::default();
                    remove(&mut turn.connection(), &batch.sequences).await?;
                    self.metrics.published(batch.events.len());
                    size = (2 * size).min(LARGEST_BATCH);
                }
                Err(error @ BusError::TooLarge { .. }) => {
                    size = self.narrow_down(turn, &batch, &error).await?;
                }
                Err(error) => {
                    let pause = patience.after_failure("publishing from the outbox", &error);
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// Goes on with half of a batch in which some event is too large, down to the event itself, which
    /// is put aside. Returns how many events are to be published next.
    async fn narrow_down(
        &self,
        turn: &mut Exclusive,
        batch: &Batch,
        error: &BusError,
    ) -> Result<usize, sqlx::Error> {
        let ([sequence], [addressed]) = (&batch.sequences[..], &batch.events[..]) else {
            return Ok(batch.events.len() / 2);
        };
        let reason = with_causes(error);
        addressed.event.span().in_scope(|| {
            tracing::error!(topic = addressed.topic, reason, "dead letter in the outbox");
        });
        bury(turn, *sequence, &reason).await?;
        Ok(1)
    }
}

/// How long to wait after failures in a row; only the first of them is worth a warning.
#[derive(Debug, Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    fn after_failure(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) -> Duration {
        if self.failures == 0 {
            tracing::warn!(error, "{what} failed; events wait and it is tried again");
        } else {
            tracing::debug!(error, "{what} failed again");
        }
        self.failures += 1;
        (Duration::from_millis(50) * 2_u32.pow(self.failures.min(6))).min(Duration::from_secs(2))
    }
}
