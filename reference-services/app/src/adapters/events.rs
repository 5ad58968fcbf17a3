//! App's events on the wire: what it tells of its orders, and what it hears from the store.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use service_kit::events::{Addressed, Event, HandleError, Handler, Subscription};

use crate::domain::{Address, Fact, News, Order, OrderId};
use crate::ports::{Cause, Origin};
use crate::service::OrderService;

/// Where app's own events go.
pub(crate) const TOPIC: &str = "orders";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderPaid<'a> {
    order_id: String,
    item: &'static str,
    quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    amount: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CancellationRequested {
    order_id: String,
}

/// `OrderCancelled` and `OrderAbandoned`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderGivenUp {
    order_id: String,
    amount: u32,
}

/// What others are told when `fact` became true for `order`.
pub(crate) fn told(order: &Order, fact: Fact, cause: &Cause) -> Addressed {
    let order_id = order.id.to_string();
    let amount = order.amount();
    match fact {
        Fact::Paid => {
            let payload = OrderPaid {
                order_id,
                item: order.item.as_str(),
                quantity: order.quantity.get(),
                address: order.address.as_ref().map(Address::as_str),
                amount,
            };
            event("OrderPaid", order, cause, &payload)
        }
        Fact::CancellationRequested => {
            let payload = CancellationRequested { order_id };
            event("CancellationRequested", order, cause, &payload)
        }
        Fact::Cancelled => {
            let payload = OrderGivenUp { order_id, amount };
            event("OrderCancelled", order, cause, &payload)
        }
        Fact::Abandoned => {
            let payload = OrderGivenUp { order_id, amount };
            event("OrderAbandoned", order, cause, &payload)
        }
    }
}

fn event(kind: &str, order: &Order, cause: &Cause, payload: &impl Serialize) -> Addressed {
    let mut event = Event::new(kind, order.id.to_string(), cause.to_string(), payload);
    event.traceparent.clone_from(&cause.traceparent);
    event.to(TOPIC)
}

/// What app listens to.
pub fn subscription() -> Subscription {
    Subscription::new("app", &["deliveries"])
}

/// Moves orders on as the store tells.
#[derive(Debug)]
pub struct Deliveries(pub OrderService);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AboutOrder {
    order_id: String,
}

#[async_trait]
impl Handler for Deliveries {
    async fn handle(&self, event: &Event) -> Result<(), HandleError> {
        let Some(news) = news(&event.kind) else {
            return Ok(());
        };
        let AboutOrder { order_id } = event.read(1)?;
        let id: OrderId = order_id
            .parse()
            .map_err(|error| HandleError::Poison(format!("{order_id:?}: {error}")))?;
        let cause = Cause {
            origin: Origin::Event { id: event.id },
            traceparent: event.traceparent.clone(),
        };
        let followed = self.0.follow(id, news, cause).await;
        followed.map_err(HandleError::retry)
    }
}

fn news(kind: &str) -> Option<News> {
    match kind {
        "OrderAccepted" => Some(News::Accepted),
        "CookingStarted" => Some(News::CookingStarted),
        "RiderAssigned" => Some(News::RiderAssigned),
        "OrderDelivered" => Some(News::Delivered),
        "DeliveryCancelled" => Some(News::Cancelled),
        "CancellationRefused" => Some(News::CancellationRefused),
        _ => None,
    }
}
