//! The deliveries in an SQL database.
//!
//! A delivery is advanced by an `UPDATE` that names the stage it must still be in: of several
//! processes that find the same step due, one changes a row, and the others none.

use std::sync::Arc;

use async_trait::async_trait;
use service_kit::database::{
    ConnectError, Database, DatabaseConfig, Lease, OpenError, Schema, Transaction, query,
};
use service_kit::events::EventId;
use service_kit::{inbox, outbox};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::events;
use crate::domain::{Change, Delivery, Meal, OrderId, Stage, Trail};
use crate::ports::{Deliveries, Outcome, StorageError};

const SCHEMA: Schema = Schema {
    sqlite: include_str!("sql/sqlite.sql"),
    postgres: include_str!("sql/postgres.sql"),
    mysql: include_str!("sql/mysql.sql"),
};

/// The deliveries in a database.
#[derive(Debug)]
pub struct SqlDeliveries(Arc<Database>);

impl SqlDeliveries {
    /// Opens the database, with an outbox and an inbox beside the deliveries.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, OpenError> {
        let schemas = [SCHEMA, outbox::SCHEMA, inbox::SCHEMA];
        let database = Database::open(config, &schemas).await?;
        Ok(Self(Arc::new(database)))
    }

    /// Where the announcements wait in the outbox.
    pub fn database(&self) -> &Arc<Database> {
        &self.0
    }

    async fn connect(&self) -> Result<Lease, StorageError> {
        self.0.connect().await.map_err(unavailable)
    }

    /// For the clock, which goes on while requests and events hold their connections.
    async fn connect_in_background(&self) -> Result<Lease, StorageError> {
        self.0.connect_in_background().await.map_err(unavailable)
    }
}

#[async_trait]
impl Deliveries for SqlDeliveries {
    async fn answer(&self, cause: EventId, change: &Change) -> Result<Outcome, StorageError> {
        let mut lease = self.connect().await?;
        let mut transaction = lease.begin().await.map_err(broken)?;
        // What is not committed is forgotten.
        if !inbox::first_time(&mut transaction, cause)
            .await
            .map_err(broken)?
        {
            return Ok(Outcome::Repeated);
        }
        if !make(&mut transaction, change).await.map_err(broken)? {
            return Ok(Outcome::Overtaken);
        }
        transaction.commit().await.map_err(broken)?;
        Ok(Outcome::Done)
    }

    async fn advance(&self, changes: &[Change]) -> Result<Vec<bool>, StorageError> {
        let mut lease = self.connect_in_background().await?;
        let mut transaction = lease.begin().await.map_err(broken)?;
        let mut made = Vec::new();
        for change in changes {
            made.push(make(&mut transaction, change).await.map_err(broken)?);
        }
        transaction.commit().await.map_err(broken)?;
        Ok(made)
    }

    async fn due(&self, now_ms: i64, limit: u32) -> Result<Vec<Delivery>, StorageError> {
        let mut lease = self.connect_in_background().await?;
        let connection = &mut lease.connection();
        query(
            connection,
            "SELECT * FROM deliveries WHERE due_at_ms <= ? ORDER BY due_at_ms, sequence LIMIT ?",
        )
        .bind(now_ms)
        .bind(i64::from(limit))
        .try_map(delivery)
        .fetch_all(connection)
        .await
        .map_err(broken)
    }

    async fn next_due(&self) -> Result<Option<i64>, StorageError> {
        let mut lease = self.connect_in_background().await?;
        let connection = &mut lease.connection();
        query(connection, "SELECT MIN(due_at_ms) FROM deliveries")
            .fetch_one(connection)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(broken)
    }

    async fn find(&self, order_id: &OrderId) -> Result<Option<Delivery>, StorageError> {
        let mut lease = self.connect().await?;
        let connection = &mut lease.connection();
        query(connection, "SELECT * FROM deliveries WHERE order_id = ?")
            .bind(order_id.to_string())
            .try_map(delivery)
            .fetch_optional(connection)
            .await
            .map_err(broken)
    }

    async fn list(&self) -> Result<Vec<Delivery>, StorageError> {
        let mut lease = self.connect().await?;
        let connection = &mut lease.connection();
        query(connection, "SELECT * FROM deliveries ORDER BY sequence")
            .try_map(delivery)
            .fetch_all(connection)
            .await
            .map_err(broken)
    }
}

/// Makes a change with its announcement, unless it was overtaken.
async fn make(transaction: &mut Transaction<'_>, change: &Change) -> Result<bool, sqlx::Error> {
    let made = match change.before {
        None => insert(transaction, &change.after).await?,
        Some(before) => update(transaction, before, &change.after).await?,
    };
    if made && let Some(announcement) = &change.announcement {
        let event = events::event(&change.after.order_id, announcement);
        outbox::append(transaction, &event).await?;
    }
    Ok(made)
}

async fn insert(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
) -> Result<bool, sqlx::Error> {
    let connection = &mut transaction.connection();
    // Another process that inserts the same at this moment makes this one fail, and be repeated.
    let inserted = query(
        connection,
        "INSERT INTO deliveries (order_id, item, quantity, address, stage, due_at_ms, event_id, \
         correlation_id, traceparent) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? \
         FROM (SELECT 1 AS one) AS once \
         WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE order_id = ?)",
    )
    .bind(delivery.order_id.to_string())
    .bind(delivery.meal.item.clone())
    .bind(i64::from(delivery.meal.quantity))
    .bind(delivery.meal.address.clone())
    .bind(delivery.stage.as_str())
    .bind(delivery.due_at_ms)
    .bind(delivery.trail.event.to_string())
    .bind(delivery.trail.correlation_id.clone())
    .bind(delivery.trail.traceparent.clone())
    .bind(delivery.order_id.to_string())
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

async fn update(
    transaction: &mut Transaction<'_>,
    before: Stage,
    delivery: &Delivery,
) -> Result<bool, sqlx::Error> {
    let connection = &mut transaction.connection();
    let updated = query(
        connection,
        "UPDATE deliveries SET stage = ?, due_at_ms = ?, event_id = ? \
         WHERE order_id = ? AND stage = ?",
    )
    .bind(delivery.stage.as_str())
    .bind(delivery.due_at_ms)
    .bind(delivery.trail.event.to_string())
    .bind(delivery.order_id.to_string())
    .bind(before.as_str())
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that `try_map` asks for"
)]
fn delivery(row: AnyRow) -> Result<Delivery, sqlx::Error> {
    let order_id: &str = row.try_get("order_id")?;
    let quantity: i64 = row.try_get("quantity")?;
    let stage: &str = row.try_get("stage")?;
    let event_id: &str = row.try_get("event_id")?;
    Ok(Delivery {
        order_id: order_id.parse().map_err(unreadable)?,
        meal: Meal {
            item: row.try_get("item")?,
            quantity: u32::try_from(quantity).map_err(unreadable)?,
            address: row.try_get("address")?,
        },
        stage: stage.parse().map_err(unreadable)?,
        due_at_ms: row.try_get("due_at_ms")?,
        trail: Trail {
            event: event_id.parse().map_err(unreadable)?,
            correlation_id: row.try_get("correlation_id")?,
            traceparent: row.try_get("traceparent")?,
        },
    })
}

fn unavailable(error: ConnectError) -> StorageError {
    match error {
        ConnectError::Exhausted => StorageError::Exhausted,
        ConnectError::Unreachable(error) => StorageError::Unreachable(Box::new(error)),
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

fn broken(error: sqlx::Error) -> StorageError {
    StorageError::Broken(Box::new(error))
}
