//! Events as they are kept.

use serde::{Deserialize, Serialize};
use service_kit::events::EventId;

use crate::domain::{Happened, Happening, OrderId, Purchase};

/// One event of an order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredEvent {
    #[serde(with = "service_kit::as_text")]
    pub(super) id: EventId,
    #[serde(with = "service_kit::as_text")]
    order_id: OrderId,
    cause: String,
    at_ms: i64,
    #[serde(with = "StoredHappening")]
    what: Happening,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Happening")]
enum StoredHappening {
    OrderPaid(#[serde(with = "StoredPurchase")] Purchase),
    OrderAccepted,
    CookingStarted,
    RiderAssigned,
    OrderDelivered,
    CancellationRequested,
    CancellationRefused,
    DeliveryCancelled,
    OrderCancelled { amount: u32 },
    OrderAbandoned { amount: u32 },
    PaymentRefunded { amount: u32 },
    CouponIssued { coupon_id: String, percent: u8 },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Purchase")]
struct StoredPurchase {
    item: String,
    quantity: u32,
    address: Option<String>,
    amount: u32,
}

impl From<Happened> for StoredEvent {
    fn from(event: Happened) -> Self {
        Self {
            id: event.id,
            order_id: event.order_id,
            cause: event.cause,
            at_ms: event.at_ms,
            what: event.what,
        }
    }
}

impl From<StoredEvent> for Happened {
    fn from(stored: StoredEvent) -> Self {
        Self {
            id: stored.id,
            order_id: stored.order_id,
            cause: stored.cause,
            at_ms: stored.at_ms,
            what: stored.what,
        }
    }
}
