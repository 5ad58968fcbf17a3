//! What pay needs from the outside world.

use async_trait::async_trait;
use service_kit::events::EventId;

use crate::domain::{Entry, OrderId, Payment, Status};

/// Why the store of payments gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Every connection stayed busy for as long as the store is willing to wait.
    #[error("no connection to the store of payments became free in time")]
    Exhausted,
    /// The store is away; nothing was asked of it.
    #[error("the store of payments cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed. What was asked of it may have been done all the same.
    #[error("the store of payments failed")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What became of a payment that was to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is the first one for its order.
    New,
    /// Something is known of the payment of its order; nothing was changed.
    Existing(Entry),
}

/// The event that something is done because of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub id: EventId,
    /// Its place in a distributed trace.
    pub traceparent: Option<String>,
}

/// The payments taken so far.
#[async_trait]
pub trait Payments: Send + Sync {
    /// Waits for one of a bounded number of connections.
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError>;

    /// Waits for one of a few other connections, for work that no client waits for.
    async fn connect_in_background(&self) -> Result<Box<dyn Connection>, StoreError>;
}

/// One connection to the store, held until dropped. What a method returned is durable, and others
/// will hear of a refund even if the process ends here.
#[async_trait]
pub trait Connection: Send {
    /// Records `payment` as taken unless something is known of the payment of its order. Of several
    /// at once for the same order exactly one is `New`.
    async fn record(&mut self, payment: &Payment) -> Result<Recorded, StoreError>;

    /// Gives back what was taken for an order and tells of it; if nothing was, nothing ever will be.
    /// `amount` is what the order cost, for a payment whose client did not say. An event has its
    /// effect once however often it is given, and an order is refunded once whatever the events.
    async fn give_up(
        &mut self,
        order_id: &OrderId,
        amount: u32,
        cause: &Cause,
    ) -> Result<Status, StoreError>;

    /// What is known of the payment of an order.
    async fn find(&mut self, order_id: &OrderId) -> Result<Option<Entry>, StoreError>;

    /// All that is known, oldest first.
    async fn list(&mut self) -> Result<Vec<Entry>, StoreError>;
}
