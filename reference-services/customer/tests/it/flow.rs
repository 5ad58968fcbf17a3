//! customer as a whole, on a bus in memory: what was told everywhere is shown.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use customer::adapters::events;
use customer::config::Config;
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use service_kit::background::Background;
use service_kit::env::Env;
use service_kit::events::memory::MemoryBus;
use service_kit::events::wire::DEAD_LETTER_REASON;
use service_kit::events::{Event, EventBus};
use tower::ServiceExt;

struct Customer {
    router: Router,
    background: Background,
}

/// Starts customer on a folder, and returns when it has heard of everything.
async fn start(folder: &Path, bus: &Arc<MemoryBus>) -> Customer {
    let settings = [("DATA_DIR", folder.to_str().unwrap())];
    let config = Config::from_env(Env::of_pairs(settings)).unwrap();
    let port = Arc::clone(bus) as Arc<dyn EventBus>;
    let (routers, background) =
        customer::build_on(Some(port), &config, Registry::default()).unwrap();
    let router = routers.on_one_port();
    let customer = Customer { router, background };
    customer.until_heard(folder, bus).await;
    customer
}

impl Customer {
    async fn until_heard(&self, folder: &Path, bus: &MemoryBus) {
        let identity = std::fs::read_to_string(folder.join("identity")).unwrap();
        bus.until_handled(&events::subscription(&identity)).await;
    }

    async fn get(&self, path: &str) -> Value {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    async fn end(self) {
        self.background.end().await;
        drop(self.router);
    }
}

/// What the other services tell of one order, as it happens.
fn story(order_id: &str) -> Vec<(&'static str, Event)> {
    let id = json!({"orderId": order_id});
    let paid = json!({"orderId": order_id, "item": "chicken", "quantity": 1, "amount": 18_000});
    let coupon = json!({"couponId": "c", "orderId": order_id, "percent": 10});
    let mut story = vec![(
        "orders",
        Event::new("OrderPaid", order_id, "request", &paid),
    )];
    for (topic, kind, payload) in [
        ("deliveries", "OrderAccepted", &id),
        ("deliveries", "CookingStarted", &id),
        ("deliveries", "RiderAssigned", &id),
        ("deliveries", "OrderDelivered", &id),
        ("coupons", "CouponIssued", &coupon),
    ] {
        let cause = &story.last().unwrap().1;
        story.push((topic, Event::caused_by(cause, kind, payload)));
    }
    story
}

async fn publish(bus: &MemoryBus, events: impl IntoIterator<Item = (&'static str, Event)>) {
    for (topic, event) in events {
        bus.publish(&[event.to(topic)]).await.unwrap();
    }
}

fn types(list: &Value) -> Vec<&str> {
    let types = list.as_array().unwrap().iter();
    types.map(|it| it["type"].as_str().unwrap()).collect()
}

const STORY: [&str; 6] = [
    "OrderPaid",
    "OrderAccepted",
    "CookingStarted",
    "RiderAssigned",
    "OrderDelivered",
    "CouponIssued",
];

#[tokio::test]
async fn whatever_topic_is_read_first_the_page_shows_the_story_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(MemoryBus::new());
    for number in 0..20 {
        let mut story = story(&format!("order-{number}"));
        // The payment, the deliveries, or the coupon come first.
        story.rotate_left(number % 6);
        publish(&bus, story).await;
    }
    let customer = start(folder.path(), &bus).await;
    let page = customer.get("/my-page?limit=100").await;
    assert_eq!(page.as_array().unwrap().len(), 20);
    for order in page.as_array().unwrap() {
        assert_eq!(order["status"], "delivered");
        assert_eq!(types(&order["history"]), STORY);
    }
    customer.end().await;
}

#[tokio::test]
async fn a_restart_repeats_no_notification_and_a_new_view_comes_to_know_the_past() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(MemoryBus::new());
    publish(&bus, story("first")).await;
    let customer = start(folder.path(), &bus).await;
    assert_eq!(
        customer
            .get("/notifications")
            .await
            .as_array()
            .unwrap()
            .len(),
        6
    );
    customer.end().await;

    // Everything is told again, as by a producer that could not know whether it had been.
    publish(&bus, story("second")).await;
    for topic in ["orders", "deliveries", "coupons"] {
        for event in bus.events(topic) {
            publish(&bus, [(topic, event)]).await;
        }
    }
    let customer = start(folder.path(), &bus).await;
    let told = customer.get("/notifications").await;
    assert_eq!(told.as_array().unwrap().len(), 12);
    let page = customer.get("/my-page").await;

    let another = tempfile::tempdir().unwrap();
    let replica = start(another.path(), &bus).await;
    assert_eq!(replica.get("/my-page").await, page);
    let ids = |list: &Value| {
        let events = list.as_array().unwrap().iter();
        let mut ids: Vec<_> = events.map(|it| it["eventId"].to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&replica.get("/notifications").await), ids(&told));
    customer.end().await;
    replica.end().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_put_aside_and_the_rest_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(MemoryBus::new());
    let poison = Event::new(
        "OrderPaid",
        "order",
        "request",
        &json!({"orderId": "order"}),
    );
    publish(&bus, [("orders", poison.clone())]).await;
    publish(&bus, story("order")).await;
    let customer = start(folder.path(), &bus).await;
    let order = customer.get("/my-page/order").await;
    assert_eq!(types(&order["history"]), STORY);
    let letters = bus.records("orders.customer.dead-letters");
    assert_eq!(letters.len(), 1);
    let letter = Event {
        // Of its way here.
        traceparent: None,
        ..letters[0].read().unwrap()
    };
    assert_eq!(letter, poison);
    assert!(letters[0].header(DEAD_LETTER_REASON).is_some());
    customer.end().await;
}
