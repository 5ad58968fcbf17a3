//! What app needs from the outside world.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use service_kit::events::EventId;

use crate::domain::{AcceptedOrder, IdempotencyKey, Order, OrderId, Status, Step};

/// Why the store of orders gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Every connection stayed busy for as long as the store is willing to wait.
    #[error("no connection to the store of orders became free in time")]
    Exhausted,
    /// The store is away; nothing was asked of it.
    #[error("the store of orders cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed. What was asked of it may have been done all the same.
    #[error("the store of orders failed")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What something is done because of. It is named by the events that tell of what was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub origin: Origin,
    /// Its place in a distributed trace.
    pub traceparent: Option<String>,
}

/// Where a cause comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Request {
        id: String,
    },
    /// What it causes must happen once, however often it is given.
    Event {
        id: EventId,
    },
    /// Time has passed.
    Clock,
}

/// The id of the cause, as events carry it.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Request { id } => f.write_str(id),
            Origin::Event { id } => write!(f, "{id}"),
            Origin::Clock => f.write_str("clock"),
        }
    }
}

/// An order that is about to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub order: Order,
    pub key: Option<IdempotencyKey>,
    /// Milliseconds since the Unix epoch.
    pub begun_at_ms: i64,
    /// Of the request that began it.
    pub traceparent: Option<String>,
}

/// An intent that was neither accepted nor given up in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    pub order: Order,
    pub traceparent: Option<String>,
}

/// What became of an intent that was to be noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    New,
    /// Its key was used before, for this order; nothing was changed. Its status is `None` as long
    /// as it is not accepted.
    KeyUsed {
        order: Order,
        status: Option<Status>,
    },
}

/// What became of an order that was to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    Accepted,
    /// It took too long, and was abandoned meanwhile.
    Abandoned,
}

/// Why an order is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback {
    /// It was not paid.
    NotPaid,
    /// Nobody knows whether it was paid.
    PerhapsPaid,
}

/// A step that was taken, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub before: Status,
    pub after: Status,
}

/// The orders accepted so far.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Waits for one of a bounded number of connections.
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError>;

    /// Waits for one of a few other connections, for work that no customer waits for.
    async fn connect_in_background(&self) -> Result<Box<dyn Connection>, StoreError>;
}

/// One connection to the store, held until dropped. What a method returned is durable, and others
/// will hear of it: the facts named below are told in the order in which they became true for each
/// order, even if the process ends here.
#[async_trait]
pub trait Connection: Send {
    /// Notes that an order is about to be paid. Nobody sees it before `commit`.
    async fn insert(&mut self, intent: &Intent) -> Result<Inserted, StoreError>;

    /// Accepts a noted order, which is paid now: `Fact::Paid`.
    async fn commit(&mut self, order: &Order, cause: &Cause) -> Result<Committed, StoreError>;

    /// Forgets a noted order and its key. If it was perhaps paid: `Fact::Abandoned`.
    async fn rollback(
        &mut self,
        order: &Order,
        reason: Rollback,
        cause: &Cause,
    ) -> Result<(), StoreError>;

    /// Orders noted before a moment (milliseconds since the Unix epoch) and neither accepted nor
    /// forgotten since.
    async fn overdue(&mut self, noted_before_ms: i64) -> Result<Vec<Overdue>, StoreError>;

    /// Has an accepted order take a step, as `Status::after` says, which also says what is told. An
    /// event that was given before takes no further step. `None` if there is no such order.
    async fn take(
        &mut self,
        id: OrderId,
        step: Step,
        cause: &Cause,
    ) -> Result<Option<Taken>, StoreError>;

    /// The accepted order of this name.
    async fn find(&mut self, id: OrderId) -> Result<Option<AcceptedOrder>, StoreError>;

    /// All accepted orders, oldest first.
    async fn list(&mut self) -> Result<Vec<AcceptedOrder>, StoreError>;
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
    /// It answered that it failed, or broke its answer off. The order may have been paid.
    #[error("the payment service failed")]
    Upstream,
    /// It works, and does not want this payment.
    #[error("the payment was declined")]
    Declined,
}

impl PaymentError {
    /// What the error means for an order that waits for its payment.
    pub fn rollback(self) -> Rollback {
        match self {
            Self::BreakerOpen { .. } | Self::BulkheadFull | Self::Connect | Self::Declined => {
                Rollback::NotPaid
            }
            Self::Timeout | Self::Upstream => Rollback::PerhapsPaid,
        }
    }
}

/// Takes the money.
#[async_trait]
pub trait Payments: Send + Sync {
    /// Has `order` paid. Asking again for the same order does not take the money again.
    async fn pay(&self, order: &Order, cause: &Cause) -> Result<(), PaymentError>;
}
