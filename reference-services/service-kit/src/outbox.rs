//! The outbox: events wait in a table of the producer's own database, into which they are put by the
//! transaction that they tell of, until a [`Relay`] has published them. So what happened is told, and
//! what is told happened, whatever dies in between.
//!
//! An event that the bus will never take because it is too large keeps nobody behind it waiting: it
//! goes to the table `outbox_dead_letters`, with the reason. Who has made room for it publishes it by
//! putting the row back into `outbox`.

mod measurements;
mod relay;

use sqlx::Row as _;
use sqlx::any::AnyRow;

pub use self::measurements::{OutboxMetrics, watch};
pub use self::relay::Relay;
use crate::clock::now_ms;
use crate::database::{Connection, Exclusive, Schema, Transaction, query};
use crate::events::{Addressed, Event};

/// The tables of the outbox.
pub const SCHEMA: Schema = Schema {
    sqlite: include_str!("outbox/sqlite.sql"),
    postgres: include_str!("outbox/postgres.sql"),
    mysql: include_str!("outbox/mysql.sql"),
};

/// Puts an event into the outbox, to be published after the commit of `transaction`.
///
/// Events are published in the order in which they were put in. For two transactions about the same
/// key that is the order of their commits if each first changes the same row of its own, and so waits
/// for the other.
pub async fn append(
    transaction: &mut Transaction<'_>,
    addressed: &Addressed,
) -> Result<(), sqlx::Error> {
    let Addressed { topic, event } = addressed;
    let connection = &mut transaction.connection();
    query(
        connection,
        "INSERT INTO outbox (topic, event_id, kind, schema_version, event_key, correlation_id, \
         causation_id, occurred_at_ms, traceparent, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(topic.clone())
    .bind(event.id.to_string())
    .bind(event.kind.clone())
    .bind(i64::from(event.schema_version))
    .bind(event.key.clone())
    .bind(event.correlation_id.clone())
    .bind(event.causation_id.clone())
    .bind(event.occurred_at_ms)
    .bind(event.traceparent.clone())
    .bind(event.payload.clone())
    .execute(connection)
    .await?;
    transaction.fills_outbox();
    Ok(())
}

/// Events of the outbox, and what they are called there.
#[derive(Debug, Default)]
struct Batch {
    sequences: Vec<i64>,
    events: Vec<Addressed>,
}

/// The events that have waited longest, `limit` of them at most.
async fn longest_waiting(
    connection: &mut Connection<'_>,
    limit: usize,
) -> Result<Batch, sqlx::Error> {
    let rows = query(
        connection,
        "SELECT sequence, topic, event_id, kind, schema_version, event_key, correlation_id, \
         causation_id, occurred_at_ms, traceparent, payload FROM outbox ORDER BY sequence LIMIT ?",
    )
    .bind(limit as i64)
    .fetch_all(connection)
    .await?;
    let mut batch = Batch::default();
    for row in rows {
        batch.sequences.push(row.try_get("sequence")?);
        batch.events.push(addressed(&row)?);
    }
    Ok(batch)
}

fn addressed(row: &AnyRow) -> Result<Addressed, sqlx::Error> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
    let event_id: String = row.try_get("event_id")?;
    let schema_version: i64 = row.try_get("schema_version")?;
    let event = Event {
        id: event_id
            .parse()
            .map_err(|error| unreadable(Box::new(error)))?,
        kind: row.try_get("kind")?,
        schema_version: u32::try_from(schema_version)
            .map_err(|error| unreadable(Box::new(error)))?,
        key: row.try_get("event_key")?,
        correlation_id: row.try_get("correlation_id")?,
        causation_id: row.try_get("causation_id")?,
        occurred_at_ms: row.try_get("occurred_at_ms")?,
        traceparent: row.try_get("traceparent")?,
        payload: row.try_get("payload")?,
    };
    Ok(event.to(row.try_get::<String, _>("topic")?))
}

/// Puts the event of that sequence among the dead letters.
async fn bury(turn: &mut Exclusive, sequence: i64, reason: &str) -> Result<(), sqlx::Error> {
    let mut transaction = turn.begin().await?;
    let connection = &mut transaction.connection();
    query(
        connection,
        "INSERT INTO outbox_dead_letters (sequence, topic, event_id, kind, schema_version, \
         event_key, correlation_id, causation_id, occurred_at_ms, traceparent, payload, reason, \
         died_at_ms) SELECT sequence, topic, event_id, kind, schema_version, event_key, \
         correlation_id, causation_id, occurred_at_ms, traceparent, payload, ?, ? FROM outbox \
         WHERE sequence = ?",
    )
    .bind(reason.to_owned())
    .bind(now_ms())
    .bind(sequence)
    .execute(&mut *connection)
    .await?;
    remove(connection, &[sequence]).await?;
    transaction.commit().await
}

/// Removes events that were published.
async fn remove(connection: &mut Connection<'_>, sequences: &[i64]) -> Result<(), sqlx::Error> {
    let list: Vec<String> = sequences.iter().map(i64::to_string).collect();
    let statement = format!("DELETE FROM outbox WHERE sequence IN ({})", list.join(", "));
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .persistent(false)
        .execute(connection)
        .await?;
    Ok(())
}
