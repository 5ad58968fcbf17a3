//! Pay's events on the wire: what it hears of orders, and what it tells of refunds.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use service_kit::events::{Addressed, Event, HandleError, Handler, Subscription};

use crate::domain::OrderId;
use crate::ports::Cause;
use crate::service::PaymentService;

/// Where pay's own events go.
pub(crate) const TOPIC: &str = "payments";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentRefunded<'a> {
    order_id: &'a str,
    amount: u32,
}

/// What others are told when the payment of an order was given back.
pub(crate) fn refunded(order_id: &OrderId, amount: u32, cause: &Cause) -> Addressed {
    let order_id = order_id.as_str();
    let payload = PaymentRefunded { order_id, amount };
    let mut event = Event::new("PaymentRefunded", order_id, cause.id.to_string(), &payload);
    event.traceparent.clone_from(&cause.traceparent);
    event.to(TOPIC)
}

/// What pay listens to.
pub fn subscription() -> Subscription {
    Subscription::new("pay", &["orders"])
}

/// Gives back what was paid for orders that will not be brought.
#[derive(Debug)]
pub struct Orders(pub PaymentService);

/// `OrderCancelled` and `OrderAbandoned`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderGivenUp {
    order_id: String,
    amount: u32,
}

#[async_trait]
impl Handler for Orders {
    async fn handle(&self, event: &Event) -> Result<(), HandleError> {
        if !matches!(event.kind.as_str(), "OrderCancelled" | "OrderAbandoned") {
            return Ok(());
        }
        let OrderGivenUp { order_id, amount } = event.read(1)?;
        let order_id = OrderId::parse(&order_id)
            .map_err(|error| HandleError::Poison(format!("{order_id:?}: {error}")))?;
        let cause = Cause {
            id: event.id,
            traceparent: event.traceparent.clone(),
        };
        let given_up = self.0.give_up(&order_id, amount, &cause).await;
        given_up.map_err(HandleError::retry)
    }
}
