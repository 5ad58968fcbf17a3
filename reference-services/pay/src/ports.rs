//! What pay needs from the outside world.

use async_trait::async_trait;

use crate::domain::{OrderId, Payment};

/// Why the store of payments gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Every connection stayed busy for as long as the store is willing to wait.
    #[error("no connection to the store of payments became free in time")]
    Exhausted,
    /// The store is away; nothing was asked of it.
    #[error("the store of payments cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed.
    #[error("the store of payments failed")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What became of a payment that was to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is the first one for its order.
    New,
    /// The order has been paid before, with this payment; nothing was changed.
    Existing(Payment),
}

/// The payments taken so far.
#[async_trait]
pub trait Payments: Send + Sync {
    /// Waits for one of a bounded number of connections.
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError>;
}

/// One connection to the store, held until dropped. What a method returned is durable.
#[async_trait]
pub trait Connection: Send {
    /// Records `payment` unless its order has one. Of several at once for the same order exactly
    /// one is `New`.
    async fn record(&mut self, payment: &Payment) -> Result<Recorded, StoreError>;

    /// The payment for an order.
    async fn find(&mut self, order_id: &OrderId) -> Result<Option<Payment>, StoreError>;

    /// All payments, oldest first.
    async fn list(&mut self) -> Result<Vec<Payment>, StoreError>;
}
