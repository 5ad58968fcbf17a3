//! The contracts of store: with app, whose events it reads, and with those who read its own, or ask it
//! for its deliveries.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Response;
use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use serde_json::Value;
use service_kit::events::memory::MemoryBus;
use service_kit::events::wire::Record;
use service_kit::events::{Event, EventBus as _};
use store::adapters::events::{Orders, subscription};
use store::adapters::http;
use store::domain::{Delivery, Stage};
use store::service::StoreService;
use tower::ServiceExt as _;

use crate::doubles::{InMemoryDeliveries, PACE, chicken, id, trail};
use crate::flow::{SWIFT, start, until_told};
use crate::places::Database;

fn store() -> (StoreService, Orders) {
    let deliveries = Arc::new(InMemoryDeliveries::default());
    let service = StoreService::new(deliveries, PACE, &mut Registry::default());
    (service.clone(), Orders(service))
}

/// The delivery that `record` is about, after store has heard it.
async fn heard(kind: &str, record: &Record) -> Delivery {
    let (service, handler) = store();
    let payload: Value = serde_json::from_slice(&record.payload).unwrap();
    let order_id = id(payload["orderId"].as_str().unwrap());
    if kind == "CancellationRequested" {
        let received = service.receive(order_id.clone(), chicken(), trail(1), 0);
        received.await.unwrap();
    }
    contracts::hear(record, &handler).await.unwrap();
    service.find(&order_id).await.unwrap().unwrap()
}

#[tokio::test]
async fn store_understands_all_that_it_may_be_told_and_needs_all_that_it_asks_for() {
    for contract in contracts::of_consumer("store") {
        assert!(subscription().topics.contains(&contract.events().topic));
        for terms in contract.events().terms() {
            for record in terms.examples() {
                let delivery = heard(&terms.kind, &record).await;
                match terms.kind.as_str() {
                    "OrderPaid" => {
                        let payload: Value = serde_json::from_slice(&record.payload).unwrap();
                        assert_eq!(payload["item"], delivery.meal.item);
                        assert_eq!(payload["quantity"], delivery.meal.quantity);
                        let address = payload.get("address").and_then(Value::as_str);
                        assert_eq!(delivery.meal.address.as_deref(), address);
                    }
                    "CancellationRequested" => assert_eq!(delivery.stage, Stage::Cancelled),
                    other => panic!("store does not read {other}"),
                }
            }
            let (_, handler) = store();
            assert_eq!(terms.needless(&handler).await, [""; 0]);
        }
    }
}

/// What store tells of an order that is to be cancelled once store has told of it `after`.
async fn story(settings: &[(&str, &str)], after: Option<&str>, answer: &str) -> Vec<Record> {
    let of_app = contracts::between("store", "app");
    let order = |kind: &str| of_app.events().event(kind).to(&of_app.events().topic);
    let bus = Arc::new(MemoryBus::new());
    let database = Database::in_a_folder();
    let store = start(&database, &bus, settings.iter().copied()).await;
    bus.publish(&[order("OrderPaid")]).await.unwrap();
    if let Some(after) = after {
        until_told(&bus, |event: &Event| event.kind == after, 1).await;
    }
    bus.publish(&[order("CancellationRequested")])
        .await
        .unwrap();
    until_told(&bus, |event: &Event| event.kind == answer, 1).await;
    store.end().await;
    bus.records("deliveries")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_store_tells_is_what_others_need() {
    let mut told = story(&SWIFT, Some("OrderDelivered"), "CancellationRefused").await;
    told.extend(story(&[("STORE_ACCEPT_TIME", "1h")], None, "DeliveryCancelled").await);
    for events in contracts::events_of("store") {
        assert_eq!(events.topic, "deliveries");
        assert_eq!(events.check(&told), []);
    }
}

/// store, and things as the contract has them.
async fn store_where(given: &str) -> Router {
    let (service, _) = store();
    let order_id = id("a");
    let received = service.receive(order_id.clone(), chicken(), trail(1), 0);
    received.await.unwrap();
    match given {
        "an order came in" => {}
        "an order was delivered" => {
            for now_ms in [1_000, 2_000, 3_000, 4_000] {
                service.advance(now_ms).await.unwrap();
            }
        }
        "an order was cancelled" => {
            let cancelled = service.cancel(&order_id, trail(2), 0);
            cancelled.await.unwrap();
        }
        other => panic!("store does not know how to have it that {other}"),
    }
    http::router(service)
}

#[tokio::test]
async fn store_answers_what_others_need() {
    for exchange in contracts::exchanges_of("store") {
        for terms in exchange.answers {
            let request = exchange.request.example().map(Body::from);
            let store = store_where(&terms.given).await;
            let (parts, body) = store.oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let breaches = terms.check(&Response::from_parts(parts, body));
            assert_eq!(breaches, [], "{}", terms.given);
        }
    }
}
