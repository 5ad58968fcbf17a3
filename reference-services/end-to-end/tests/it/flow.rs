//! What happens to one order, as everybody concerned sees it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use reqwest::StatusCode;
use serde_json::{Value, json};
use service_kit::env::Env;
use service_kit::events::kafka::{KafkaBus, KafkaConfig};
use service_kit::events::{Event, EventBus, HandleError, Handler, Subscription};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use end_to_end::system::{PATIENCE, Part, System};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_delivered_and_everybody_concerned_hears_of_it() {
    let Some(system) = System::running().await else {
        return;
    };
    let order = json!({"item": "pizza", "quantity": 2, "address": "서울시 강남구"});
    let id = system.order(Part::Gateway, &order).await.unwrap();
    let delivered = |order: &Value| order["status"] == "delivered";
    let seen = system
        .until(Part::Gateway, &format!("/orders/{id}"), delivered)
        .await;
    assert_eq!(seen["amount"], 48_000);

    let page = system
        .until(Part::Gateway, &format!("/my-page/{id}"), delivered)
        .await;
    let history: Vec<&str> = page["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    for event in [
        "OrderPaid",
        "OrderAccepted",
        "CookingStarted",
        "RiderAssigned",
        "OrderDelivered",
    ] {
        assert!(history.contains(&event), "{history:?}");
    }
    let has_coupon = |coupons: &Value| coupons.as_array().unwrap().len() == 1;
    let coupons = system.until(Part::Gateway, "/coupons", has_coupon).await;
    assert_eq!(coupons[0]["orderId"], Value::String(id));
    let report = system.until_settled().await;
    assert_eq!(report["entries"]["orders"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_is_refunded_and_not_delivered() {
    let Some(mut system) = System::new().await else {
        return;
    };
    // Time enough to change one's mind.
    system.set(Part::Store, "STORE_START_TIME", "60m");
    for part in Part::ALL {
        system.start(part).await;
    }
    let id = system
        .order(Part::App, &json!({"item": "chicken"}))
        .await
        .unwrap();
    let path = format!("/orders/{id}/cancellation");
    let asked = system
        .client
        .post(system.url(Part::App, &path))
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), StatusCode::ACCEPTED);
    let cancelled = |order: &Value| order["status"] == "cancelled";
    system
        .until(Part::App, &format!("/orders/{id}"), cancelled)
        .await;
    let refunded = |payment: &Value| payment["status"] == "refunded";
    system
        .until(Part::Pay, &format!("/payments/{id}"), refunded)
        .await;
    system
        .until(Part::Customer, &format!("/my-page/{id}"), cancelled)
        .await;
    system.until_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_taken_without_a_broker_and_delivered_once_there_is_one() {
    let Some(mut system) = System::new().await else {
        return;
    };
    for part in Part::ALL.into_iter().filter(|part| *part != Part::Broker) {
        system.start(part).await;
    }
    let id = system
        .order(Part::Gateway, &json!({"item": "chicken"}))
        .await
        .unwrap();
    let order = system.read(Part::App, &format!("/orders/{id}")).await;
    assert_eq!(order["status"], "paid");
    system.start(Part::Broker).await;
    system.until_settled().await;
}

/// A service that nobody else knows of.
struct Accountant {
    paid: UnboundedSender<String>,
}

#[async_trait]
impl Handler for Accountant {
    async fn handle(&self, event: &Event) -> Result<(), HandleError> {
        if event.kind == "OrderPaid" {
            self.paid.send(event.key.clone()).unwrap();
        }
        Ok(())
    }
}

/// What everybody says about all orders.
async fn books(system: &System) -> Vec<Value> {
    let mut books = Vec::new();
    for (part, path) in [
        (Part::App, "/orders"),
        (Part::Pay, "/payments"),
        (Part::Store, "/deliveries"),
        (Part::Marketing, "/coupons"),
        (Part::Customer, "/notifications?limit=1000"),
    ] {
        books.push(system.read(part, path).await);
    }
    books
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_consumer_hears_of_everything_since_the_beginning_and_changes_nothing() {
    let Some(system) = System::running().await else {
        return;
    };
    let tteokbokki = json!({"item": "tteokbokki"});
    let mut ordered = BTreeSet::new();
    for _ in 0..5 {
        ordered.insert(system.order(Part::App, &tteokbokki).await.unwrap());
    }
    system.until_settled().await;
    let before = books(&system).await;

    let brokers = system.brokers();
    let mut env = Env::of_pairs([("KAFKA_BROKERS", brokers.as_str())]);
    let config = KafkaConfig::from_env(&mut env).unwrap();
    let bus = KafkaBus::new(&config, &mut Registry::default()).unwrap();
    let (paid, mut heard) = unbounded_channel();
    let stop = CancellationToken::new();
    let listening = stop.clone().drop_guard();
    let consuming = tokio::spawn(async move {
        let subscription = Subscription::new("accountant", &["orders"]);
        let accountant = Accountant { paid };
        bus.consume(&subscription, &accountant, &stop).await
    });
    let mut next = async || timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    let mut all = BTreeSet::new();
    for _ in 0..ordered.len() {
        all.insert(next().await);
    }
    assert_eq!(all, ordered);
    assert_eq!(books(&system).await, before);

    let one_more = system.order(Part::App, &tteokbokki).await.unwrap();
    assert_eq!(next().await, one_more);
    let report = system.until_settled().await;
    assert_eq!(report["entries"]["orders"], ordered.len() + 1);
    drop(listening);
    consuming.await.unwrap().unwrap();
    assert_eq!(heard.recv().await, None, "heard twice");
}
