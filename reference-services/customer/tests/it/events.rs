//! What customer makes of the events of others.

use std::sync::Arc;

use customer::adapters::events::Happenings;
use customer::domain::Status;
use customer::ports::Views;
use customer::service::CustomerService;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use service_kit::events::{Event, HandleError, Handler};

use crate::doubles::InMemoryViews;

pub(crate) struct Customer {
    pub(crate) views: Arc<InMemoryViews>,
    pub(crate) handler: Happenings,
    registry: Registry,
}

pub(crate) fn customer() -> Customer {
    let views = Arc::new(InMemoryViews::default());
    let mut registry = Registry::default();
    let service = CustomerService::new(Arc::clone(&views) as Arc<dyn Views>, &mut registry);
    Customer {
        views,
        handler: Happenings(service),
        registry,
    }
}

/// Every event of the system, as its producer tells it.
fn all_events() -> Vec<Event> {
    let id = json!({"orderId": "7"});
    let money = json!({"orderId": "7", "amount": 18_000});
    let paid = json!({"orderId": "7", "item": "chicken", "quantity": 1, "amount": 18_000});
    let coupon = json!({"couponId": "c", "orderId": "7", "percent": 10});
    [
        ("OrderPaid", paid),
        ("OrderAccepted", id.clone()),
        ("CookingStarted", id.clone()),
        ("RiderAssigned", id.clone()),
        ("OrderDelivered", id.clone()),
        ("CancellationRequested", id.clone()),
        ("CancellationRefused", id.clone()),
        ("DeliveryCancelled", id),
        ("OrderCancelled", money.clone()),
        ("OrderAbandoned", money.clone()),
        ("PaymentRefunded", money),
        ("CouponIssued", coupon),
    ]
    .into_iter()
    .map(|(kind, payload)| Event::new(kind, "7", "cause", &payload))
    .collect()
}

#[tokio::test]
async fn every_event_makes_one_notification_however_often_it_comes() {
    let customer = customer();
    let events = all_events();
    for event in events.iter().chain(&events) {
        customer.handler.handle(event).await.unwrap();
    }
    let told = customer.views.notifications(None, 100).await.unwrap();
    let told: Vec<_> = told
        .iter()
        .rev()
        .map(|it| (it.event.id, it.event.what.name().to_owned()))
        .collect();
    let expected: Vec<_> = events
        .iter()
        .map(|event| (event.id, event.kind.clone()))
        .collect();
    assert_eq!(told, expected);

    let mut metrics = String::new();
    encode(&mut metrics, &customer.registry).unwrap();
    for outcome in ["new", "repeated"] {
        let line =
            format!("customer_events_total{{event=\"OrderPaid\",outcome=\"{outcome}\"}} 1\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn topics_may_be_read_in_any_order() {
    let customer = customer();
    let way = &all_events()[..5];
    for event in way.iter().rev() {
        customer.handler.handle(event).await.unwrap();
    }
    let order = customer.views.find("7".parse().unwrap()).await.unwrap();
    assert_eq!(order.unwrap().status, Status::Delivered);
}

#[tokio::test]
async fn events_of_other_kinds_are_none_of_its_business() {
    let customer = customer();
    let strange = Event::new("MenuPrinted", "7", "cause", &Value::Null);
    customer.handler.handle(&strange).await.unwrap();
    assert!(
        customer
            .views
            .notifications(None, 1)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn what_can_never_be_read_is_poison() {
    let customer = customer();
    let mut newer = all_events().remove(1);
    newer.schema_version = 2;
    let unreadable = [
        newer,
        Event::new("OrderPaid", "7", "cause", &json!({"orderId": "7"})),
        Event::new("OrderAccepted", "7", "cause", &json!({"orderId": "a b"})),
        Event::new(
            "CouponIssued",
            "7",
            "cause",
            &json!({"couponId": "c", "orderId": "7", "percent": 1000}),
        ),
    ];
    for event in unreadable {
        let refused = customer.handler.handle(&event).await.unwrap_err();
        assert!(matches!(refused, HandleError::Poison(_)), "{refused}");
    }
}
