//! The events that store reads and tells.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use service_kit::events::{Addressed, Event, EventId, HandleError, Handler};
use store::adapters::events::{Orders, event, subscription};
use store::domain::{Announcement, News, Stage, Trail};
use store::service::StoreService;

use crate::doubles::{InMemoryDeliveries, PACE, id};

fn store() -> (StoreService, Orders) {
    let deliveries = Arc::new(InMemoryDeliveries::default());
    let service = StoreService::new(deliveries, PACE, &mut Registry::default());
    (service.clone(), Orders(service))
}

fn paid(order_id: &str) -> Event {
    let payload = json!({
        "orderId": order_id,
        "item": "chicken",
        "quantity": 2,
        "amount": 36_000,
    });
    Event::new("OrderPaid", order_id, "request", &payload)
}

#[tokio::test]
async fn the_orders_are_followed() {
    let (service, handler) = store();
    let paid = paid("7");
    handler.handle(&paid).await.unwrap();
    let delivery = service.find(&id("7")).await.unwrap().unwrap();
    assert_eq!(delivery.meal.item, "chicken");
    assert_eq!(delivery.meal.quantity, 2);
    assert_eq!(delivery.meal.address, None);
    assert_eq!(delivery.trail.event, paid.id);

    let payload = json!({"orderId": "7"});
    let request = Event::new("CancellationRequested", "7", "request", &payload);
    handler.handle(&request).await.unwrap();
    let delivery = service.find(&id("7")).await.unwrap().unwrap();
    assert_eq!(delivery.stage, Stage::Cancelled);
}

#[tokio::test]
async fn events_of_other_kinds_are_none_of_its_business() {
    let (service, handler) = store();
    for kind in ["OrderCancelled", "OrderAbandoned", "MenuPrinted"] {
        let event = Event::new(kind, "7", "cause", &Value::Null);
        handler.handle(&event).await.unwrap();
    }
    assert!(service.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_can_never_be_read_is_poison() {
    let (_, handler) = store();
    let mut newer = paid("7");
    newer.schema_version = 2;
    let long = "x".repeat(20_000);
    let mut endless_chain = paid("7");
    endless_chain.correlation_id = "x".repeat(256);
    let meal = |item: &str, address: &str| {
        let payload = json!({"orderId": "7", "item": item, "quantity": 1, "address": address});
        Event::new("OrderPaid", "7", "request", &payload)
    };
    let request = |payload: Value| Event::new("CancellationRequested", "7", "request", &payload);
    for poison in [
        newer,
        endless_chain,
        meal(&long, "서울시"),
        meal("chicken", &long),
        meal("chi\0cken", "서울시"),
        paid("a b"),
        Event::new("OrderPaid", "7", "request", &json!({"orderId": "7"})),
        request(json!({})),
        request(json!({"orderId": ""})),
    ] {
        let refused = handler.handle(&poison).await.unwrap_err();
        assert!(matches!(refused, HandleError::Poison(_)), "{refused}");
    }
}

#[test]
fn news_are_told_on_the_topic_of_deliveries_with_their_cause() {
    for (news, kind) in [
        (News::OrderAccepted, "OrderAccepted"),
        (News::CookingStarted, "CookingStarted"),
        (News::RiderAssigned, "RiderAssigned"),
        (News::OrderDelivered, "OrderDelivered"),
        (News::DeliveryCancelled, "DeliveryCancelled"),
        (News::CancellationRefused, "CancellationRefused"),
    ] {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let announcement = Announcement {
            id: EventId::new(2),
            news,
            cause: Trail {
                event: EventId::new(1),
                correlation_id: "chain".to_owned(),
                traceparent: Some(traceparent.to_owned()),
            },
            at_ms: 99,
        };
        let Addressed { topic, event } = event(&id("7"), &announcement);
        assert_eq!(topic, "deliveries");
        assert_eq!(event.kind, kind);
        assert_eq!(event.schema_version, 1);
        assert_eq!(event.id, announcement.id);
        assert_eq!(event.key, "7");
        assert_eq!(event.correlation_id, "chain");
        assert_eq!(event.causation_id, EventId::new(1).to_string());
        assert_eq!(event.occurred_at_ms, 99);
        assert_eq!(event.payload, r#"{"orderId":"7"}"#);
        assert_eq!(event.traceparent.as_deref(), Some(traceparent));
    }
}

#[test]
fn all_processes_share_one_group() {
    let subscription = subscription();
    assert_eq!(subscription.group, "store");
    assert_eq!(subscription.topics, ["orders"]);
}
