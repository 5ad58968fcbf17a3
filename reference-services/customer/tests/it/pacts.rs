//! The contracts of customer with all the others, whose events it reads.

use customer::adapters::events::subscription;
use customer::domain::Happening;
use customer::ports::Views as _;
use serde_json::{Value, json};

use crate::events::customer;

/// What customer knows of an event besides its order, as the payload has it.
fn known(what: Happening) -> Value {
    match what {
        Happening::OrderPaid(bought) => json!({
            "item": bought.item,
            "quantity": bought.quantity,
            "address": bought.address,
            "amount": bought.amount,
        }),
        Happening::OrderCancelled { amount }
        | Happening::OrderAbandoned { amount }
        | Happening::PaymentRefunded { amount } => json!({"amount": amount}),
        Happening::CouponIssued { coupon_id, percent } => {
            json!({"couponId": coupon_id, "percent": percent})
        }
        Happening::OrderAccepted
        | Happening::CookingStarted
        | Happening::RiderAssigned
        | Happening::OrderDelivered
        | Happening::CancellationRequested
        | Happening::CancellationRefused
        | Happening::DeliveryCancelled => json!({}),
    }
}

#[tokio::test]
async fn customer_understands_all_that_it_may_be_told_and_needs_all_that_it_asks_for() {
    for contract in contracts::of_consumer("customer") {
        assert!(
            subscription("a view")
                .topics
                .contains(&contract.events().topic)
        );
        for terms in contract.events().terms() {
            for record in terms.examples() {
                let customer = customer();
                let heard = contracts::hear(&record, &customer.handler).await.unwrap();
                let mut told = customer.views.notifications(None, 2).await.unwrap();
                let event = told.remove(0).event;
                assert_eq!(told, [], "{record:?}");
                assert_eq!(event.id, heard.id);
                assert_eq!(event.cause, heard.causation_id);
                assert_eq!(event.at_ms, heard.occurred_at_ms);
                assert_eq!(event.what.name(), terms.kind);
                let payload: Value = serde_json::from_slice(&record.payload).unwrap();
                assert_eq!(payload["orderId"], event.order_id.as_str());
                for (name, value) in known(event.what).as_object().unwrap() {
                    assert_eq!(payload[name], *value, "{name} of {}", terms.kind);
                }
            }
            assert_eq!(terms.needless(&customer().handler).await, [""; 0]);
        }
    }
}
