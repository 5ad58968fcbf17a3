//! What marketing needs from the outside world.

use async_trait::async_trait;

use crate::domain::{Coupon, Delivered};

/// The coupons cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the coupons cannot be read or written")]
pub struct StorageError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What became of the news of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heard {
    New,
    /// The order was known to be delivered; nothing was changed.
    Repeated,
}

/// Who has earned a coupon, who has got one, and which ones have been published. What a method
/// returned is durable.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Remembers that a coupon is owed for an order, unless it is known.
    async fn hear(&self, delivered: Delivered) -> Result<Heard, StorageError>;

    /// At most `limit` deliveries for which a coupon is owed, in the order in which they were heard of.
    async fn owed(&self, limit: usize) -> Result<Vec<Delivered>, StorageError>;

    /// Issues those of `coupons` whose orders have none, and tells how many.
    async fn issue(&self, coupons: Vec<Coupon>) -> Result<usize, StorageError>;

    /// At most `limit` coupons that nobody was told of for sure, in the order of their issue.
    async fn unpublished(&self, limit: usize) -> Result<Vec<Coupon>, StorageError>;

    /// Remembers that the first `count` of the unpublished coupons have been published.
    async fn published(&self, count: usize) -> Result<(), StorageError>;

    /// All coupons, in the order of their issue.
    async fn list(&self) -> Result<Vec<Coupon>, StorageError>;
}
