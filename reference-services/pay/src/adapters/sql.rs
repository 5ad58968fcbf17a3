//! The payments in an SQL database, each refund in one transaction with the event that tells of it.

use std::sync::Arc;

use async_trait::async_trait;
use service_kit::database::{self, ConnectError, Database, Lease, Schema, query};
use service_kit::{inbox, outbox};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::events;
use crate::domain::{Entry, OrderId, Payment, Status};
use crate::ports::{Cause, Connection, Payments, Recorded, StoreError};

/// The tables of pay.
pub const SCHEMAS: [Schema; 3] = [
    Schema {
        sqlite: include_str!("sql/sqlite.sql"),
        postgres: include_str!("sql/postgres.sql"),
        mysql: include_str!("sql/mysql.sql"),
    },
    outbox::SCHEMA,
    inbox::SCHEMA,
];

/// The payments in a database.
#[derive(Debug)]
pub struct SqlPayments(Arc<Database>);

impl SqlPayments {
    /// The payments in a database that has pay's tables.
    pub fn new(database: Arc<Database>) -> Self {
        Self(database)
    }
}

#[async_trait]
impl Payments for SqlPayments {
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
    async fn record(&mut self, payment: &Payment) -> Result<Recorded, StoreError> {
        match insert(&mut self.0.connection(), payment, Status::Taken).await {
            Ok(true) => return Ok(Recorded::New),
            Ok(false) => {}
            // Another request for the same order came first, by less than a statement.
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {}
            Err(error) => return Err(broken(error)),
        }
        match self.find(&payment.order_id).await? {
            Some(earlier) => Ok(Recorded::Existing(earlier)),
            None => Err(broken(sqlx::Error::RowNotFound)),
        }
    }

    async fn give_up(
        &mut self,
        order_id: &OrderId,
        amount: u32,
        cause: &Cause,
    ) -> Result<Status, StoreError> {
        let nothing = Payment {
            order_id: order_id.clone(),
            amount: None,
        };
        let mut transaction = self.0.begin().await.map_err(broken)?;
        let mut is_refunded = false;
        if inbox::first_time(&mut transaction, cause.id)
            .await
            .map_err(broken)?
        {
            let connection = &mut transaction.connection();
            // If this finds that something was recorded, what follows sees it.
            let is_barred = insert(connection, &nothing, Status::Barred)
                .await
                .map_err(broken)?;
            is_refunded = !is_barred && refund(connection, order_id).await.map_err(broken)?;
        }
        let entry = find(&mut transaction.connection(), order_id).await?;
        let Entry { payment, status } = entry.ok_or_else(|| broken(sqlx::Error::RowNotFound))?;
        if is_refunded {
            let amount = payment.amount.unwrap_or(amount);
            let told = events::refunded(order_id, amount, cause);
            outbox::append(&mut transaction, &told)
                .await
                .map_err(broken)?;
        }
        transaction.commit().await.map_err(broken)?;
        Ok(status)
    }

    async fn find(&mut self, order_id: &OrderId) -> Result<Option<Entry>, StoreError> {
        find(&mut self.0.connection(), order_id).await
    }

    async fn list(&mut self) -> Result<Vec<Entry>, StoreError> {
        let connection = &mut self.0.connection();
        query(
            connection,
            "SELECT order_id, amount, status FROM payments ORDER BY sequence",
        )
        .try_map(entry)
        .fetch_all(connection)
        .await
        .map_err(broken)
    }
}

/// Whether nothing was known of the payment of that order.
async fn insert(
    connection: &mut database::Connection<'_>,
    payment: &Payment,
    status: Status,
) -> Result<bool, sqlx::Error> {
    let inserted = query(
        connection,
        "INSERT INTO payments (order_id, amount, status) \
         SELECT ?, ?, ? FROM (SELECT 1 AS one) AS once \
         WHERE NOT EXISTS (SELECT 1 FROM payments WHERE order_id = ?)",
    )
    .bind(payment.order_id.as_str().to_owned())
    .bind(payment.amount.map(i64::from))
    .bind(status.as_str())
    .bind(payment.order_id.as_str().to_owned())
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Whether there was something to give back.
async fn refund(
    connection: &mut database::Connection<'_>,
    order_id: &OrderId,
) -> Result<bool, sqlx::Error> {
    let refunded = query(
        connection,
        "UPDATE payments SET status = ? WHERE order_id = ? AND status = ?",
    )
    .bind(Status::Refunded.as_str())
    .bind(order_id.as_str().to_owned())
    .bind(Status::Taken.as_str())
    .execute(connection)
    .await?;
    Ok(refunded.rows_affected() == 1)
}

async fn find(
    connection: &mut database::Connection<'_>,
    order_id: &OrderId,
) -> Result<Option<Entry>, StoreError> {
    query(
        connection,
        "SELECT order_id, amount, status FROM payments WHERE order_id = ?",
    )
    .bind(order_id.as_str().to_owned())
    .try_map(entry)
    .fetch_optional(connection)
    .await
    .map_err(broken)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that `try_map` asks for"
)]
fn entry(row: AnyRow) -> Result<Entry, sqlx::Error> {
    let order_id: &str = row.try_get("order_id")?;
    let amount: Option<i64> = row.try_get("amount")?;
    let status: &str = row.try_get("status")?;
    let payment = Payment {
        order_id: OrderId::parse(order_id).map_err(unreadable)?,
        amount: amount.map(u32::try_from).transpose().map_err(unreadable)?,
    };
    Ok(Entry {
        payment,
        status: status.parse().map_err(unreadable)?,
    })
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

fn broken(error: sqlx::Error) -> StoreError {
    StoreError::Broken(Box::new(error))
}
