//! The orders in an SQL database.
//!
//! SQLite has a single writer: a transaction left open during the call to pay would keep every other
//! order from being written. So an order is written in one short transaction at its commit, while the
//! connection is held for the whole flow, which is what bounds the orders under way.

use async_trait::async_trait;
use service_kit::database::{
    ConnectError, Database, DatabaseConfig, Lease, OpenError, Schema, query,
};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::domain::{Order, OrderId, Quantity};
use crate::ports::{Connection, Orders, StoreError};

const SCHEMA: Schema = Schema {
    sqlite: include_str!("sql/sqlite.sql"),
    postgres: include_str!("sql/postgres.sql"),
    mysql: include_str!("sql/mysql.sql"),
};

/// The orders in a database.
#[derive(Debug)]
pub struct SqlOrders(Database);

impl SqlOrders {
    pub async fn open(config: &DatabaseConfig) -> Result<Self, OpenError> {
        Database::open(config, &[SCHEMA]).await.map(Self)
    }
}

#[async_trait]
impl Orders for SqlOrders {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        let lease = self.0.connect().await.map_err(|error| match error {
            ConnectError::Exhausted => StoreError::Exhausted,
            ConnectError::Unreachable(error) => StoreError::Unreachable(Box::new(error)),
        })?;
        Ok(Box::new(SqlConnection {
            lease,
            inserted: None,
        }))
    }
}

struct SqlConnection {
    lease: Lease,
    inserted: Option<Order>,
}

#[async_trait]
impl Connection for SqlConnection {
    async fn insert(&mut self, order: Order) -> Result<(), StoreError> {
        self.inserted = Some(order);
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let Some(order) = self.inserted.take() else {
            return Ok(());
        };
        let connection = self.lease.connection();
        query(
            connection,
            "INSERT INTO orders (id, item, quantity, address) VALUES (?, ?, ?, ?)",
        )
        .bind(order.id.to_string())
        .bind(order.item.as_str())
        .bind(i64::from(order.quantity.get()))
        .bind(order.address)
        .execute(connection)
        .await
        .map_err(broken)?;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        self.inserted = None;
        Ok(())
    }

    async fn find(&mut self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let connection = self.lease.connection();
        query(
            connection,
            "SELECT id, item, quantity, address FROM orders WHERE id = ?",
        )
        .bind(id.to_string())
        .try_map(order)
        .fetch_optional(connection)
        .await
        .map_err(broken)
    }

    async fn list(&mut self) -> Result<Vec<Order>, StoreError> {
        let connection = self.lease.connection();
        query(
            connection,
            "SELECT id, item, quantity, address FROM orders ORDER BY sequence",
        )
        .try_map(order)
        .fetch_all(connection)
        .await
        .map_err(broken)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that `try_map` asks for"
)]
fn order(row: AnyRow) -> Result<Order, sqlx::Error> {
    let id: &str = row.try_get("id")?;
    let item: &str = row.try_get("item")?;
    let quantity: i64 = row.try_get("quantity")?;
    let quantity = u32::try_from(quantity).map_err(unreadable)?;
    Ok(Order {
        id: id.parse().map_err(unreadable)?,
        item: item.parse().map_err(unreadable)?,
        quantity: Quantity::new(quantity).map_err(unreadable)?,
        address: row.try_get("address")?,
    })
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

fn broken(error: sqlx::Error) -> StoreError {
    StoreError::Broken(Box::new(error))
}
