//! What customer needs from the outside world.

use async_trait::async_trait;

use crate::domain::{Happened, Order, OrderId};

/// The view cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the view of the orders cannot be read or written")]
pub struct StorageError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recorded {
    New,
    /// It is known already; nothing was changed.
    Repeated,
}

/// One message to a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Notifications are numbered in the order in which they were made.
    pub number: u64,
    pub event: Happened,
}

/// The orders and notifications of all customers. What a method returned is durable.
#[async_trait]
pub trait Views: Send + Sync {
    /// Adds `event` to what is known of its order, and a notification: both, or, if the event is
    /// known, neither.
    async fn record(&self, event: Happened) -> Result<Recorded, StorageError>;

    /// At most `limit` orders, the newest first, beginning with the first one that is older than the
    /// order `before`; `None` if there is no such order.
    async fn page(
        &self,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Option<Vec<Order>>, StorageError>;

    async fn find(&self, order_id: OrderId) -> Result<Option<Order>, StorageError>;

    /// At most `limit` notifications with numbers below `before`, the newest first.
    async fn notifications(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Notification>, StorageError>;
}
