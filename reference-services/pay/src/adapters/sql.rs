//! The payments in an SQL database.

use async_trait::async_trait;
use service_kit::sqlite::{ConnectError, Database, DatabaseConfig, Lease, OpenError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::{OrderId, Payment};
use crate::ports::{Connection, Payments, Recorded, StoreError};

/// The payments in SQLite.
#[derive(Debug)]
pub struct SqlPayments(Database);

impl SqlPayments {
    pub async fn open(config: &DatabaseConfig) -> Result<Self, OpenError> {
        Database::open(config, include_str!("payments.sql"))
            .await
            .map(Self)
    }
}

#[async_trait]
impl Payments for SqlPayments {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        let lease = self.0.connect().await.map_err(|error| match error {
            ConnectError::Exhausted => StoreError::Exhausted,
            ConnectError::Broken(error) => broken(error),
        })?;
        Ok(Box::new(SqlConnection(lease)))
    }
}

struct SqlConnection(Lease);

#[async_trait]
impl Connection for SqlConnection {
    async fn record(&mut self, payment: &Payment) -> Result<Recorded, StoreError> {
        let inserted = sqlx::query(
            "INSERT INTO payments (order_id, amount) VALUES (?, ?) ON CONFLICT (order_id) DO NOTHING",
        )
        .bind(payment.order_id.as_str())
        .bind(payment.amount)
        .execute(self.0.connection())
        .await
        .map_err(broken)?;
        if inserted.rows_affected() == 1 {
            return Ok(Recorded::New);
        }
        match self.find(&payment.order_id).await? {
            Some(earlier) => Ok(Recorded::Existing(earlier)),
            None => Err(broken(sqlx::Error::RowNotFound)),
        }
    }

    async fn find(&mut self, order_id: &OrderId) -> Result<Option<Payment>, StoreError> {
        sqlx::query("SELECT order_id, amount FROM payments WHERE order_id = ?")
            .bind(order_id.as_str())
            .try_map(payment)
            .fetch_optional(self.0.connection())
            .await
            .map_err(broken)
    }

    async fn list(&mut self) -> Result<Vec<Payment>, StoreError> {
        sqlx::query("SELECT order_id, amount FROM payments ORDER BY sequence")
            .try_map(payment)
            .fetch_all(self.0.connection())
            .await
            .map_err(broken)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that `try_map` asks for"
)]
fn payment(row: SqliteRow) -> Result<Payment, sqlx::Error> {
    let order_id: &str = row.try_get("order_id")?;
    Ok(Payment {
        order_id: OrderId::parse(order_id).map_err(|error| sqlx::Error::Decode(error.into()))?,
        amount: row.try_get("amount")?,
    })
}

fn broken(error: sqlx::Error) -> StoreError {
    StoreError::Broken(Box::new(error))
}
