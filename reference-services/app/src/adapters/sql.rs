//! The orders in an SQL database, each change in one transaction with the event that tells of it.
//!
//! No transaction is open during the call to pay: SQLite has a single writer, which would keep every
//! other order from being written. So an order is noted as pending before, and accepted after; the
//! connection is held for the whole flow, which is what bounds the orders under way.

use std::sync::Arc;

use async_trait::async_trait;
use service_kit::database::{self, ConnectError, Database, Lease, Schema, Transaction, query};
use service_kit::{inbox, outbox};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::events;
use crate::domain::{AcceptedOrder, Fact, IdempotencyKey, Order, OrderId, Quantity, Status, Step};
use crate::ports::{
    Cause, Committed, Connection, Inserted, Intent, Orders, Origin, Overdue, Rollback, StoreError,
    Taken,
};

/// The tables of app.
pub const SCHEMAS: [Schema; 3] = [
    Schema {
        sqlite: include_str!("sql/sqlite.sql"),
        postgres: include_str!("sql/postgres.sql"),
        mysql: include_str!("sql/mysql.sql"),
    },
    outbox::SCHEMA,
    inbox::SCHEMA,
];

/// What the status of an order is called that is not accepted.
const PENDING: &str = "pending";

/// The orders in a database.
#[derive(Debug)]
pub struct SqlOrders(Arc<Database>);

impl SqlOrders {
    /// The orders in a database that has app's tables.
    pub fn new(database: Arc<Database>) -> Self {
        Self(database)
    }
}

#[async_trait]
impl Orders for SqlOrders {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        connection(self.0.connect().await)
    }

    async fn connect_in_background(&self) -> Result<Box<dyn Connection>, StoreError> {
        connection(self.0.connect_in_background().await)
    }
}

fn connection(lease: Result<Lease, ConnectError>) -> Result<Box<dyn Connection>, StoreError> {
    match lease {
        Ok(lease) => Ok(Box::new(SqlConnection(lease))),
        Err(ConnectError::Exhausted) => Err(StoreError::Exhausted),
        Err(ConnectError::Unreachable(error)) => Err(StoreError::Unreachable(Box::new(error))),
    }
}

struct SqlConnection(Lease);

#[async_trait]
impl Connection for SqlConnection {
    async fn insert(&mut self, intent: &Intent) -> Result<Inserted, StoreError> {
        let Some(key) = &intent.key else {
            insert(&mut self.0.connection(), intent)
                .await
                .map_err(broken)?;
            return Ok(Inserted::New);
        };
        if let Some(used) = of_key(&mut self.0.connection(), key).await? {
            return Ok(used);
        }
        match insert(&mut self.0.connection(), intent).await {
            Ok(()) => Ok(Inserted::New),
            // Another request with the same key came first, by less than a statement.
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                let used = of_key(&mut self.0.connection(), key).await?;
                used.ok_or_else(|| StoreError::Broken(error))
            }
            Err(error) => Err(broken(error)),
        }
    }

    async fn commit(&mut self, order: &Order, cause: &Cause) -> Result<Committed, StoreError> {
        let mut transaction = self.0.begin().await.map_err(broken)?;
        let connection = &mut transaction.connection();
        let accepted = query(
            connection,
            "UPDATE orders SET status = ? WHERE id = ? AND status = ?",
        )
        .bind(Status::Paid.as_str())
        .bind(order.id.to_string())
        .bind(PENDING)
        .execute(connection)
        .await
        .map_err(broken)?;
        if accepted.rows_affected() == 0 {
            return Ok(Committed::Abandoned);
        }
        tell(&mut transaction, order, Fact::Paid, cause).await?;
        transaction.commit().await.map_err(broken)?;
        Ok(Committed::Accepted)
    }

    async fn rollback(
        &mut self,
        order: &Order,
        reason: Rollback,
        cause: &Cause,
    ) -> Result<(), StoreError> {
        match reason {
            Rollback::NotPaid => {
                forget(&mut self.0.connection(), order.id).await?;
                Ok(())
            }
            Rollback::PerhapsPaid => {
                let mut transaction = self.0.begin().await.map_err(broken)?;
                // Whoever forgets it tells of it, so nobody tells twice.
                if forget(&mut transaction.connection(), order.id).await? {
                    tell(&mut transaction, order, Fact::Abandoned, cause).await?;
                }
                transaction.commit().await.map_err(broken)
            }
        }
    }

    async fn overdue(&mut self, noted_before_ms: i64) -> Result<Vec<Overdue>, StoreError> {
        let connection = &mut self.0.connection();
        query(
            connection,
            "SELECT id, item, quantity, address, traceparent FROM orders \
             WHERE status = ? AND begun_at_ms < ? ORDER BY sequence",
        )
        .bind(PENDING)
        .bind(noted_before_ms)
        .try_map(|row| {
            Ok(Overdue {
                order: order(&row)?,
                traceparent: row.try_get("traceparent")?,
            })
        })
        .fetch_all(connection)
        .await
        .map_err(broken)
    }

    async fn take(
        &mut self,
        id: OrderId,
        step: Step,
        cause: &Cause,
    ) -> Result<Option<Taken>, StoreError> {
        let mut transaction = self.0.begin().await.map_err(broken)?;
        let Some(AcceptedOrder { order, status }) = lock(&mut transaction.connection(), id).await?
        else {
            return Ok(None);
        };
        let (after, fact) = match &cause.origin {
            Origin::Event { id } if !first_time(&mut transaction, *id).await? => (status, None),
            Origin::Event { .. } | Origin::Request { .. } | Origin::Clock => status.after(step),
        };
        if after != status {
            let connection = &mut transaction.connection();
            query(connection, "UPDATE orders SET status = ? WHERE id = ?")
                .bind(after.as_str())
                .bind(id.to_string())
                .execute(connection)
                .await
                .map_err(broken)?;
        }
        if let Some(fact) = fact {
            tell(&mut transaction, &order, fact, cause).await?;
        }
        transaction.commit().await.map_err(broken)?;
        let before = status;
        Ok(Some(Taken { before, after }))
    }

    async fn find(&mut self, id: OrderId) -> Result<Option<AcceptedOrder>, StoreError> {
        find(&mut self.0.connection(), id).await
    }

    async fn list(&mut self) -> Result<Vec<AcceptedOrder>, StoreError> {
        let connection = &mut self.0.connection();
        query(
            connection,
            "SELECT id, item, quantity, address, status FROM orders WHERE status <> ? \
             ORDER BY sequence",
        )
        .bind(PENDING)
        .try_map(|row| accepted(&row))
        .fetch_all(connection)
        .await
        .map_err(broken)
    }
}

async fn insert(
    connection: &mut database::Connection<'_>,
    intent: &Intent,
) -> Result<(), sqlx::Error> {
    let Intent {
        order,
        key,
        begun_at_ms,
        traceparent,
    } = intent;
    query(
        connection,
        "INSERT INTO orders (id, item, quantity, address, status, idempotency_key, begun_at_ms, \
         traceparent) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(order.id.to_string())
    .bind(order.item.as_str())
    .bind(i64::from(order.quantity.get()))
    .bind(
        order
            .address
            .as_ref()
            .map(|address| address.as_str().to_owned()),
    )
    .bind(PENDING)
    .bind(key.as_ref().map(|key| key.as_str().to_owned()))
    .bind(*begun_at_ms)
    .bind(traceparent.clone())
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether there was an order to forget.
async fn forget(
    connection: &mut database::Connection<'_>,
    id: OrderId,
) -> Result<bool, StoreError> {
    let forgotten = query(connection, "DELETE FROM orders WHERE id = ? AND status = ?")
        .bind(id.to_string())
        .bind(PENDING)
        .execute(connection)
        .await
        .map_err(broken)?;
    Ok(forgotten.rows_affected() == 1)
}

async fn of_key(
    connection: &mut database::Connection<'_>,
    key: &IdempotencyKey,
) -> Result<Option<Inserted>, StoreError> {
    query(
        connection,
        "SELECT id, item, quantity, address, status FROM orders WHERE idempotency_key = ?",
    )
    .bind(key.as_str().to_owned())
    .try_map(|row| {
        Ok(Inserted::KeyUsed {
            order: order(&row)?,
            status: status(&row)?,
        })
    })
    .fetch_optional(connection)
    .await
    .map_err(broken)
}

async fn find(
    connection: &mut database::Connection<'_>,
    id: OrderId,
) -> Result<Option<AcceptedOrder>, StoreError> {
    query(
        connection,
        "SELECT id, item, quantity, address, status FROM orders WHERE id = ? AND status <> ?",
    )
    .bind(id.to_string())
    .bind(PENDING)
    .try_map(|row| accepted(&row))
    .fetch_optional(connection)
    .await
    .map_err(broken)
}

/// An accepted order which nobody else changes before the end of the transaction: a change that
/// changes nothing locks it in every kind of database.
async fn lock(
    connection: &mut database::Connection<'_>,
    id: OrderId,
) -> Result<Option<AcceptedOrder>, StoreError> {
    query(connection, "UPDATE orders SET status = status WHERE id = ?")
        .bind(id.to_string())
        .execute(&mut *connection)
        .await
        .map_err(broken)?;
    find(connection, id).await
}

async fn first_time(
    transaction: &mut Transaction<'_>,
    event: service_kit::events::EventId,
) -> Result<bool, StoreError> {
    inbox::first_time(transaction, event).await.map_err(broken)
}

async fn tell(
    transaction: &mut Transaction<'_>,
    order: &Order,
    fact: Fact,
    cause: &Cause,
) -> Result<(), StoreError> {
    outbox::append(transaction, &events::told(order, fact, cause))
        .await
        .map_err(broken)
}

fn accepted(row: &AnyRow) -> Result<AcceptedOrder, sqlx::Error> {
    Ok(AcceptedOrder {
        order: order(row)?,
        status: status(row)?.ok_or(sqlx::Error::RowNotFound)?,
    })
}

fn order(row: &AnyRow) -> Result<Order, sqlx::Error> {
    let id: &str = row.try_get("id")?;
    let item: &str = row.try_get("item")?;
    let quantity: i64 = row.try_get("quantity")?;
    let quantity = u32::try_from(quantity).map_err(unreadable)?;
    let address: Option<&str> = row.try_get("address")?;
    Ok(Order {
        id: id.parse().map_err(unreadable)?,
        item: item.parse().map_err(unreadable)?,
        quantity: Quantity::new(quantity).map_err(unreadable)?,
        address: address.map(str::parse).transpose().map_err(unreadable)?,
    })
}

fn status(row: &AnyRow) -> Result<Option<Status>, sqlx::Error> {
    match row.try_get("status")? {
        PENDING => Ok(None),
        status => status.parse().map(Some).map_err(unreadable),
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

fn broken(error: sqlx::Error) -> StoreError {
    StoreError::Broken(Box::new(error))
}
