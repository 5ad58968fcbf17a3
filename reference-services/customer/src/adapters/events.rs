//! The events of all the others, which customer follows.

use async_trait::async_trait;
use serde::Deserialize;
use service_kit::events::{Event, HandleError, Handler, Subscription};

use crate::domain::{Happened, Happening, Purchase};
use crate::service::CustomerService;

const TOPICS: [&str; 4] = ["orders", "deliveries", "payments", "coupons"];
const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderPaid {
    order_id: String,
    item: String,
    quantity: u32,
    address: Option<String>,
    amount: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AboutOrder {
    order_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AboutMoney {
    order_id: String,
    amount: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CouponIssued {
    coupon_id: String,
    order_id: String,
    percent: u8,
}

/// What the view of this identity reads. Each view reads everything, from the beginning: that is how
/// a new one comes to know the past, and why replicas show the same.
pub fn subscription(view: &str) -> Subscription {
    Subscription::new("customer", &TOPICS).kept_by(view)
}

/// Follows what happens to orders.
#[derive(Debug)]
pub struct Happenings(pub CustomerService);

#[async_trait]
impl Handler for Happenings {
    async fn handle(&self, event: &Event) -> Result<(), HandleError> {
        let Some((order_id, what)) = happening(event)? else {
            return Ok(());
        };
        let happened = Happened {
            id: event.id,
            order_id: order_id
                .parse()
                .map_err(|error| HandleError::Poison(format!("{order_id:?}: {error}")))?,
            cause: event.causation_id.clone(),
            at_ms: event.occurred_at_ms,
            what,
        };
        self.0.record(happened).await.map_err(HandleError::retry)
    }
}

/// What `event` tells, and of which order; `None` if it is of a kind that customers are not told of.
fn happening(event: &Event) -> Result<Option<(String, Happening)>, HandleError> {
    let plain = |what| {
        let told: AboutOrder = event.read(SCHEMA_VERSION)?;
        Ok(Some((told.order_id, what)))
    };
    let money = |what: fn(u32) -> Happening| {
        let told: AboutMoney = event.read(SCHEMA_VERSION)?;
        Ok(Some((told.order_id, what(told.amount))))
    };
    match event.kind.as_str() {
        "OrderPaid" => {
            let paid: OrderPaid = event.read(SCHEMA_VERSION)?;
            let bought = Purchase {
                item: paid.item,
                quantity: paid.quantity,
                address: paid.address,
                amount: paid.amount,
            };
            Ok(Some((paid.order_id, Happening::OrderPaid(bought))))
        }
        "OrderAccepted" => plain(Happening::OrderAccepted),
        "CookingStarted" => plain(Happening::CookingStarted),
        "RiderAssigned" => plain(Happening::RiderAssigned),
        "OrderDelivered" => plain(Happening::OrderDelivered),
        "CancellationRequested" => plain(Happening::CancellationRequested),
        "CancellationRefused" => plain(Happening::CancellationRefused),
        "DeliveryCancelled" => plain(Happening::DeliveryCancelled),
        "OrderCancelled" => money(|amount| Happening::OrderCancelled { amount }),
        "OrderAbandoned" => money(|amount| Happening::OrderAbandoned { amount }),
        "PaymentRefunded" => money(|amount| Happening::PaymentRefunded { amount }),
        "CouponIssued" => {
            let issued: CouponIssued = event.read(SCHEMA_VERSION)?;
            let what = Happening::CouponIssued {
                coupon_id: issued.coupon_id,
                percent: issued.percent,
            };
            Ok(Some((issued.order_id, what)))
        }
        _ => Ok(None),
    }
}
