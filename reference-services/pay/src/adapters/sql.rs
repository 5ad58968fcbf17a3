//! The payments in an SQL database.

use async_trait::async_trait;
use service_kit::database::{
    ConnectError, Database, DatabaseConfig, Lease, OpenError, Schema, query,
};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::domain::{OrderId, Payment};
use crate::ports::{Connection, Payments, Recorded, StoreError};

const SCHEMA: Schema = Schema {
    sqlite: include_str!("sql/sqlite.sql"),
    postgres: include_str!("sql/postgres.sql"),
    mysql: include_str!("sql/mysql.sql"),
};

/// The payments in a database.
#[derive(Debug)]
pub struct SqlPayments(Database);

impl SqlPayments {
    pub async fn open(config: &DatabaseConfig) -> Result<Self, OpenError> {
        Database::open(config, &[SCHEMA]).await.map(Self)
    }
}

#[async_trait]
impl Payments for SqlPayments {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        let lease = self.0.connect().await.map_err(|error| match error {
            ConnectError::Exhausted => StoreError::Exhausted,
            ConnectError::Unreachable(error) => StoreError::Unreachable(Box::new(error)),
        })?;
        Ok(Box::new(SqlConnection(lease)))
    }
}

struct SqlConnection(Lease);

#[async_trait]
impl Connection for SqlConnection {
    async fn record(&mut self, payment: &Payment) -> Result<Recorded, StoreError> {
        let connection = self.0.connection();
        let inserted = query(
            connection,
            "INSERT INTO payments (order_id, amount) SELECT ?, ? FROM (SELECT 1 AS one) AS once \
             WHERE NOT EXISTS (SELECT 1 FROM payments WHERE order_id = ?)",
        )
        .bind(payment.order_id.as_str())
        .bind(payment.amount.map(i64::from))
        .bind(payment.order_id.as_str())
        .execute(connection)
        .await;
        match inserted {
            Ok(inserted) if inserted.rows_affected() == 1 => return Ok(Recorded::New),
            Ok(_) => {}
            // Another request for the same order came first, by less than a statement.
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {}
            Err(error) => return Err(broken(error)),
        }
        match self.find(&payment.order_id).await? {
            Some(earlier) => Ok(Recorded::Existing(earlier)),
            None => Err(broken(sqlx::Error::RowNotFound)),
        }
    }

    async fn find(&mut self, order_id: &OrderId) -> Result<Option<Payment>, StoreError> {
        let connection = self.0.connection();
        query(
            connection,
            "SELECT order_id, amount FROM payments WHERE order_id = ?",
        )
        .bind(order_id.as_str())
        .try_map(payment)
        .fetch_optional(connection)
        .await
        .map_err(broken)
    }

    async fn list(&mut self) -> Result<Vec<Payment>, StoreError> {
        let connection = self.0.connection();
        query(
            connection,
            "SELECT order_id, amount FROM payments ORDER BY sequence",
        )
        .try_map(payment)
        .fetch_all(connection)
        .await
        .map_err(broken)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that `try_map` asks for"
)]
fn payment(row: AnyRow) -> Result<Payment, sqlx::Error> {
    let order_id: &str = row.try_get("order_id")?;
    let amount: Option<i64> = row.try_get("amount")?;
    Ok(Payment {
        order_id: OrderId::parse(order_id).map_err(unreadable)?,
        amount: amount.map(u32::try_from).transpose().map_err(unreadable)?,
    })
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

fn broken(error: sqlx::Error) -> StoreError {
    StoreError::Broken(Box::new(error))
}
