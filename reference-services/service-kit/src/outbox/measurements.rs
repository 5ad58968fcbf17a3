//! How much waits in the outbox, for how long, and how much has left it.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sqlx::Row as _;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::database::{ConnectError, Database, query};

/// How often the outbox is measured.
const PERIOD: Duration = Duration::from_secs(5);

/// The measurements of one outbox. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct OutboxMetrics {
    pending: Gauge,
    oldest_age: Gauge<f64, AtomicU64>,
    dead_letters: Gauge,
    published: Counter,
}

impl OutboxMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "outbox_pending",
            "Events that wait in the outbox",
            metrics.pending.clone(),
        );
        registry.register(
            "outbox_oldest_age_seconds",
            "How long the oldest event in the outbox has waited",
            metrics.oldest_age.clone(),
        );
        registry.register(
            "outbox_dead_letters",
            "Events of the outbox that were put aside because the bus can never take them",
            metrics.dead_letters.clone(),
        );
        registry.register(
            "outbox_published",
            "Events that this replica has published from the outbox",
            metrics.published.clone(),
        );
        metrics
    }

    pub(super) fn nothing_waits(&self) {
        self.pending.set(0);
        self.oldest_age.set(0.0);
    }

    pub(super) fn published(&self, count: usize) {
        self.published.inc_by(count as u64);
    }
}

/// Measures the outbox regularly until `stop`, whether or not anybody publishes from it.
pub async fn watch(database: &Database, metrics: &OutboxMetrics, stop: &CancellationToken) {
    loop {
        if let Err(error) = measure(database, metrics).await {
            tracing::debug!(%error, "the outbox was not measured");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum MeasureError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Statement(#[from] sqlx::Error),
}

async fn measure(database: &Database, metrics: &OutboxMetrics) -> Result<(), MeasureError> {
    let mut lease = database.connect_in_background().await?;
    let connection = &mut lease.connection();
    let pending: i64 = query(connection, "SELECT COUNT(*) FROM outbox")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    let dead_letters: i64 = query(connection, "SELECT COUNT(*) FROM outbox_dead_letters")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    let oldest = query(
        connection,
        "SELECT occurred_at_ms FROM outbox ORDER BY sequence LIMIT 1",
    )
    .fetch_optional(connection)
    .await?;
    let age_ms = match oldest {
        Some(row) => now_ms().saturating_sub(row.try_get(0)?).max(0),
        None => 0,
    };
    metrics.pending.set(pending);
    metrics.dead_letters.set(dead_letters);
    metrics.oldest_age.set(age_ms as f64 / 1e3);
    Ok(())
}
