//! What store needs from the outside world.

use async_trait::async_trait;
use service_kit::events::EventId;

use crate::domain::{Change, Delivery, OrderId};

/// Why there was no answer about the deliveries.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Every connection stayed busy for as long as one is waited for.
    #[error("no connection to the deliveries became free in time")]
    Exhausted,
    /// They are away; nothing was asked of them.
    #[error("the deliveries cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the deliveries cannot be read or written")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What became of a change that an event asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done,
    /// The event had been handled before; nothing was changed.
    Repeated,
    /// The delivery is not any more, or not yet, where the change begins; nothing was changed, and
    /// the event does not count as handled.
    Overtaken,
}

/// The deliveries, with the announcements that wait to be published. What a method returned is
/// durable.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Makes `change`, keeps its announcement and remembers that the event `cause` was handled, all
    /// in one: of several at once for the same delivery, or for the same event, one is `Done`.
    async fn answer(&self, cause: EventId, change: &Change) -> Result<Outcome, StorageError>;

    /// Makes those of `changes` that have not been overtaken, and keeps their announcements, all in
    /// one. Tells which were made.
    async fn advance(&self, changes: &[Change]) -> Result<Vec<bool>, StorageError>;

    /// At most `limit` deliveries whose next step is due by `now_ms`, the longest waiting first.
    async fn due(&self, now_ms: i64, limit: u32) -> Result<Vec<Delivery>, StorageError>;

    /// When the first of all steps to come is due.
    async fn next_due(&self) -> Result<Option<i64>, StorageError>;

    async fn find(&self, order_id: &OrderId) -> Result<Option<Delivery>, StorageError>;

    /// All deliveries, in the order in which they came in.
    async fn list(&self) -> Result<Vec<Delivery>, StorageError>;
}
