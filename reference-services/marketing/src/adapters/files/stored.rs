//! Deliveries and coupons as they are written down.

use serde::{Deserialize, Serialize};
use service_kit::events::EventId;

use crate::domain::{Coupon, Delivered, OrderId, Percent};

/// A line of `deliveries.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredDelivery {
    #[serde(with = "service_kit::as_text")]
    order_id: OrderId,
    #[serde(with = "service_kit::as_text")]
    event_id: EventId,
    correlation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

/// A line of `coupons.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredCoupon {
    #[serde(with = "percent")]
    percent: Percent,
    issued_at_ms: i64,
    delivered: StoredDelivery,
}

impl From<Delivered> for StoredDelivery {
    fn from(delivered: Delivered) -> Self {
        Self {
            order_id: delivered.order_id,
            event_id: delivered.event,
            correlation_id: delivered.correlation_id,
            traceparent: delivered.traceparent,
        }
    }
}

impl From<StoredDelivery> for Delivered {
    fn from(stored: StoredDelivery) -> Self {
        Self {
            order_id: stored.order_id,
            event: stored.event_id,
            correlation_id: stored.correlation_id,
            traceparent: stored.traceparent,
        }
    }
}

impl From<Coupon> for StoredCoupon {
    fn from(coupon: Coupon) -> Self {
        Self {
            percent: coupon.percent,
            issued_at_ms: coupon.issued_at_ms,
            delivered: coupon.delivered.into(),
        }
    }
}

impl From<StoredCoupon> for Coupon {
    fn from(stored: StoredCoupon) -> Self {
        Self {
            percent: stored.percent,
            issued_at_ms: stored.issued_at_ms,
            delivered: stored.delivered.into(),
        }
    }
}

mod percent {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::Percent;

    pub(super) fn serialize<S: Serializer>(value: &Percent, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(value.get())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Percent, D::Error> {
        Percent::new(u8::deserialize(from)?).map_err(D::Error::custom)
    }
}
