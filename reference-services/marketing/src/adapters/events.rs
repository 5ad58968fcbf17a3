//! Marketing's events: the deliveries that it follows, and the coupons that it tells of.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use service_kit::events::{Addressed, Event, HandleError, Handler, Subscription};

use crate::domain::{Coupon, Delivered};
use crate::service::MarketingService;

const DELIVERIES: &str = "deliveries";
pub(crate) const COUPONS: &str = "coupons";
const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderDelivered {
    order_id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CouponIssued {
    coupon_id: String,
    order_id: String,
    percent: u8,
}

/// What the ledger of this identity reads. Each ledger reads everything, from the beginning: one
/// that was lost comes to know again who has earned a coupon.
pub fn subscription(ledger: &str) -> Subscription {
    Subscription::new("marketing", &[DELIVERIES]).kept_by(ledger)
}

/// Follows the deliveries.
#[derive(Debug)]
pub struct Deliveries(pub MarketingService);

#[async_trait]
impl Handler for Deliveries {
    async fn handle(&self, event: &Event) -> Result<(), HandleError> {
        if event.kind != "OrderDelivered" {
            return Ok(());
        }
        let told: OrderDelivered = event.read(SCHEMA_VERSION)?;
        let order_id = told
            .order_id
            .parse()
            .map_err(|error| HandleError::Poison(format!("{:?}: {error}", told.order_id)))?;
        let delivered = Delivered {
            order_id,
            event: event.id,
            correlation_id: event.correlation_id.clone(),
            traceparent: event.traceparent.clone(),
        };
        self.0.hear(delivered).await.map_err(HandleError::retry)
    }
}

/// The event that tells of a coupon.
pub fn event(coupon: &Coupon) -> Addressed {
    let delivered = &coupon.delivered;
    let payload = CouponIssued {
        coupon_id: coupon.id(),
        order_id: delivered.order_id.to_string(),
        percent: coupon.percent.get(),
    };
    let mut event = Event::new(
        "CouponIssued",
        delivered.order_id.to_string(),
        delivered.event.to_string(),
        &payload,
    );
    event.id = coupon.event_id();
    event.correlation_id.clone_from(&delivered.correlation_id);
    event.occurred_at_ms = coupon.issued_at_ms;
    event.traceparent.clone_from(&delivered.traceparent);
    event.to(COUPONS)
}
