//! Store's events: those of app that it follows, and those that it tells.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use service_kit::clock::now_ms;
use service_kit::events::{Addressed, Event, HandleError, Handler, Subscription};
use service_kit::trace::TraceContext;

use crate::domain::{Announcement, Meal, News, OrderId, Trail};
use crate::service::StoreService;

const ORDERS: &str = "orders";
pub(crate) const DELIVERIES: &str = "deliveries";
const SCHEMA_VERSION: u32 = 1;

/// In bytes. What is longer would not find room in every database, and its event, tried again for
/// ever, would hold up all that follow it.
const LONGEST_TEXT: usize = 16 * 1024;
const LONGEST_NAME: usize = 255;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderPaid {
    order_id: String,
    item: String,
    quantity: u32,
    address: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancellationRequested {
    order_id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AboutOrder {
    order_id: String,
}

/// What store reads. All its processes share the work.
pub fn subscription() -> Subscription {
    Subscription::new("store", &[ORDERS])
}

/// Follows the orders.
#[derive(Debug)]
pub struct Orders(pub StoreService);

#[async_trait]
impl Handler for Orders {
    async fn handle(&self, event: &Event) -> Result<(), HandleError> {
        match event.kind.as_str() {
            "OrderPaid" => {
                let paid: OrderPaid = event.read(SCHEMA_VERSION)?;
                let order_id = order_id(&paid.order_id)?;
                let meal = meal(paid)?;
                let taken = self.0.receive(order_id, meal, trail(event)?, now_ms());
                taken.await.map_err(HandleError::retry)
            }
            "CancellationRequested" => {
                let requested: CancellationRequested = event.read(SCHEMA_VERSION)?;
                let order_id = order_id(&requested.order_id)?;
                let answered = self.0.cancel(&order_id, trail(event)?, now_ms());
                answered.await.map_err(HandleError::retry)
            }
            _ => Ok(()),
        }
    }
}

fn order_id(text: &str) -> Result<OrderId, HandleError> {
    text.parse()
        .map_err(|error| HandleError::Poison(format!("{text:?}: {error}")))
}

fn meal(paid: OrderPaid) -> Result<Meal, HandleError> {
    storable("item", &paid.item, LONGEST_TEXT)?;
    if let Some(address) = &paid.address {
        storable("address", address, LONGEST_TEXT)?;
    }
    Ok(Meal {
        item: paid.item,
        quantity: paid.quantity,
        address: paid.address,
    })
}

fn trail(event: &Event) -> Result<Trail, HandleError> {
    storable("correlation id", &event.correlation_id, LONGEST_NAME)?;
    let is_one = |text: &&String| text.parse::<TraceContext>().is_ok();
    Ok(Trail {
        event: event.id,
        correlation_id: event.correlation_id.clone(),
        traceparent: event.traceparent.as_ref().filter(is_one).cloned(),
    })
}

fn storable(what: &str, text: &str, longest: usize) -> Result<(), HandleError> {
    if text.len() > longest {
        Err(HandleError::Poison(format!(
            "the {what} has more than {longest} bytes"
        )))
    } else if text.contains('\0') {
        Err(HandleError::Poison(format!(
            "there is a zero in the {what}"
        )))
    } else {
        Ok(())
    }
}

/// The event that tells `announcement` about an order.
pub fn event(order_id: &OrderId, announcement: &Announcement) -> Addressed {
    let kind = match announcement.news {
        News::OrderAccepted => "OrderAccepted",
        News::CookingStarted => "CookingStarted",
        News::RiderAssigned => "RiderAssigned",
        News::OrderDelivered => "OrderDelivered",
        News::DeliveryCancelled => "DeliveryCancelled",
        News::CancellationRefused => "CancellationRefused",
    };
    let payload = AboutOrder {
        order_id: order_id.to_string(),
    };
    let cause = &announcement.cause;
    let mut event = Event::new(
        kind,
        order_id.to_string(),
        cause.event.to_string(),
        &payload,
    );
    event.id = announcement.id;
    event.correlation_id.clone_from(&cause.correlation_id);
    event.occurred_at_ms = announcement.at_ms;
    event.traceparent.clone_from(&cause.traceparent);
    event.to(DELIVERIES)
}
