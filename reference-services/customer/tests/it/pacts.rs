//! The contracts of customer: with all the others, whose events it reads, and with those who ask it for
//! its notifications.

use axum::Router;
use axum::body::Body;
use axum::http::Response;
use customer::adapters::events::subscription;
use customer::domain::Happening;
use customer::ports::Views as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::doubles::{happened, paid};
use crate::events::customer;
use crate::http::customer as customer_over_http;

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

/// customer, and things as the contract has them.
async fn customer_where(given: &str) -> Router {
    let (events, what) = match given {
        "an event was told" | "an order was paid" => (1, paid()),
        "an order was delivered" => (1, Happening::OrderDelivered),
        "an order was cancelled" => (1, Happening::OrderCancelled { amount: 1 }),
        "a payment was given back" => (1, Happening::PaymentRefunded { amount: 1 }),
        "a coupon was issued" => {
            let coupon_id = "c".to_owned();
            let percent = 10;
            (1, Happening::CouponIssued { coupon_id, percent })
        }
        "more events were told than a part of the list holds" => (30, paid()),
        other => panic!("customer does not know how to have it that {other}"),
    };
    let events = (0..events).map(|id| happened(&format!("order-{id}"), id, 0, what.clone()));
    customer_over_http(events).await
}

#[tokio::test]
async fn customer_answers_what_others_need() {
    for exchange in contracts::exchanges_of("customer") {
        for terms in exchange.answers {
            let request = exchange.request.example().map(Body::from);
            let customer = customer_where(&terms.given).await;
            let (parts, body) = customer.oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let breaches = terms.check(&Response::from_parts(parts, body));
            assert_eq!(breaches, [], "{}", terms.given);
        }
    }
}
