//! What app needs from the outside world.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{Order, OrderId};

/// Why the store of orders gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Every connection stayed busy for as long as the store is willing to wait.
    #[error("no connection to the store of orders became free in time")]
    Exhausted,
    /// The store is away; nothing was asked of it.
    #[error("the store of orders cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed.
    #[error("the store of orders failed")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The orders accepted so far.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Waits for one of a bounded number of connections.
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError>;
}

/// One connection to the store, held until dropped.
#[async_trait]
pub trait Connection: Send {
    /// Begins to take `order` in. Nobody sees it before `commit`, and it is forgotten on `rollback`
    /// or when the connection is dropped.
    async fn insert(&mut self, order: Order) -> Result<(), StoreError>;

    /// Makes the inserted order durable and visible.
    async fn commit(&mut self) -> Result<(), StoreError>;

    /// Forgets the inserted order.
    async fn rollback(&mut self) -> Result<(), StoreError>;

    /// The accepted order of this name.
    async fn find(&mut self, id: OrderId) -> Result<Option<Order>, StoreError>;

    /// All accepted orders, oldest first.
    async fn list(&mut self) -> Result<Vec<Order>, StoreError>;
}

/// Why an order was not paid, or not known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    #[error("payment is switched off after too many failures")]
    BreakerOpen { retry_after: Duration },
    #[error("too many payments are under way")]
    BulkheadFull,
    /// The order may have been paid all the same.
    #[error("the payment was not confirmed in time")]
    Timeout,
    #[error("the payment service cannot be reached")]
    Connect,
    /// It answered that it failed, or broke its answer off.
    #[error("the payment service failed")]
    Upstream,
    /// It works, and does not want this payment.
    #[error("the payment was declined")]
    Declined,
}

/// Takes the money.
#[async_trait]
pub trait Payments: Send + Sync {
    /// Has `order` paid. Asking again for the same order does not take the money again.
    async fn pay(&self, order: &Order) -> Result<(), PaymentError>;
}
