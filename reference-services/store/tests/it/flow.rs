//! store as a whole, on a bus in memory: from the payment of an order to its delivery.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde_json::json;
use service_kit::background::Background;
use service_kit::events::memory::MemoryBus;
use service_kit::events::{Event, EventBus, Subscription};

use crate::places::{Database, databases};

const WAY: [&str; 4] = [
    "OrderAccepted",
    "CookingStarted",
    "RiderAssigned",
    "OrderDelivered",
];
const PATIENCE: Duration = Duration::from_secs(60);
/// Each stage is over at once.
pub(crate) const SWIFT: [(&str, &str); 5] = [
    ("STORE_ACCEPT_TIME", "1ms"),
    ("STORE_START_TIME", "1ms"),
    ("STORE_COOKING_TIME", "1ms"),
    ("STORE_RIDER_TIME", "1ms"),
    ("STORE_POLL", "20ms"),
];

pub(crate) async fn start<'a>(
    database: &'a Database,
    bus: &Arc<MemoryBus>,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Background {
    let config = database.config(settings);
    let bus = Arc::clone(bus) as Arc<dyn EventBus>;
    let (_routers, background) = store::build_on(Some(bus), &config, Registry::default())
        .await
        .unwrap();
    background
}

const END: [&str; 2] = ["OrderDelivered", "DeliveryCancelled"];
const ANSWER: [&str; 2] = ["DeliveryCancelled", "CancellationRefused"];

fn is_one_of(kinds: [&str; 2]) -> impl Fn(&Event) -> bool {
    move |event| kinds.contains(&event.kind.as_str())
}

/// Completes when so many events that are `wanted` have been told.
pub(crate) async fn until_told(bus: &MemoryBus, wanted: impl Fn(&Event) -> bool, count: usize) {
    let told = bus.until_published("deliveries", count, wanted);
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.expect("not all was told");
}

fn paid(order_id: &str) -> Event {
    let payload = json!({"orderId": order_id, "item": "chicken", "quantity": 1, "amount": 18_000});
    Event::new("OrderPaid", order_id, "request", &payload)
}

async fn pay(bus: &MemoryBus, order_id: &str) -> Event {
    let paid = paid(order_id);
    bus.publish(&[paid.clone().to("orders")]).await.unwrap();
    paid
}

/// What was told of each order, as it was told.
fn told(bus: &MemoryBus) -> BTreeMap<String, Vec<Event>> {
    let mut told: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in bus.events("deliveries") {
        told.entry(event.key.clone()).or_default().push(event);
    }
    told
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

#[tokio::test]
async fn its_topic_is_there_before_the_first_delivery() {
    let database = Database::in_a_folder();
    let bus = Arc::new(MemoryBus::new());
    let store = start(&database, &bus, SWIFT).await;
    let made = async {
        while !bus.has_topic("deliveries") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, made).await.unwrap();
    store.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_deliver_each_order_once_and_each_step_follows_from_the_one_before() {
    for database in databases() {
        let bus = Arc::new(MemoryBus::new());
        let replicas = [
            start(&database, &bus, SWIFT).await,
            start(&database, &bus, SWIFT).await,
            start(&database, &bus, SWIFT).await,
        ];
        let mut payments = Vec::new();
        for number in 0..50 {
            payments.push(pay(&bus, &format!("order-{number}")).await);
        }
        until_told(&bus, is_one_of(END), 50).await;
        for replica in replicas {
            replica.end().await;
        }
        let told = told(&bus);
        assert_eq!(told.len(), 50);
        for paid in payments {
            let events = &told[&paid.key];
            assert_eq!(kinds(events), WAY);
            let mut cause = paid.id;
            for event in events {
                assert_eq!(event.causation_id, cause.to_string());
                assert_eq!(event.correlation_id, paid.correlation_id);
                cause = event.id;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_to_cancel_gets_one_answer_whatever_it_races_with() {
    let database = Database::in_a_folder();
    let bus = Arc::new(MemoryBus::new());
    let replicas = [
        start(&database, &bus, SWIFT).await,
        start(&database, &bus, SWIFT).await,
    ];
    for number in 0..50 {
        let order_id = format!("order-{number}");
        pay(&bus, &order_id).await;
        let payload = json!({"orderId": order_id});
        let request = Event::new("CancellationRequested", &*order_id, "request", &payload);
        bus.publish(&[request.to("orders")]).await.unwrap();
    }
    until_told(&bus, is_one_of(END), 50).await;
    // An order may be delivered before the request to cancel it is read.
    until_told(&bus, is_one_of(ANSWER), 50).await;
    for replica in replicas {
        replica.end().await;
    }
    for (order_id, events) in told(&bus) {
        let mut kinds = kinds(&events);
        let answers = kinds.iter().filter(|kind| ANSWER.contains(kind));
        assert_eq!(answers.count(), 1, "{order_id}");
        if kinds.last() == Some(&"DeliveryCancelled") {
            assert!(
                ["OrderAccepted", "DeliveryCancelled"].ends_with(&kinds),
                "{order_id}"
            );
        } else {
            kinds.retain(|kind| *kind != "CancellationRefused");
            assert_eq!(kinds, WAY, "{order_id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let database = Database::in_a_folder();
    let bus = Arc::new(MemoryBus::new());
    let store = start(&database, &bus, SWIFT).await;
    let mut newer = paid("order");
    newer.schema_version = 2;
    let empty = json!({"orderId": "order"});
    let mealless = Event::new("OrderPaid", "order", "request", &empty);
    let misnamed = json!({"orderId": "or der"});
    let misnamed = Event::new("CancellationRequested", "order", "request", &misnamed);
    for poison in [newer, mealless, misnamed] {
        bus.publish(&[poison.to("orders")]).await.unwrap();
    }
    pay(&bus, "order").await;
    until_told(&bus, is_one_of(END), 1).await;
    store.end().await;
    assert_eq!(bus.records("orders.store.dead-letters").len(), 3);
    assert_eq!(kinds(&told(&bus)["order"]), WAY);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_bus_is_away_the_store_goes_on_and_tells_of_it_later() {
    let database = Database::in_a_folder();
    let bus = Arc::new(MemoryBus::new());
    let first = start(&database, &bus, SWIFT).await;
    pay(&bus, "before").await;
    bus.until_handled(&Subscription::new("store", &["orders"]))
        .await;
    bus.go_down();
    first.end().await;

    let second = start(&database, &bus, SWIFT).await;
    bus.come_back();
    pay(&bus, "after").await;
    until_told(&bus, is_one_of(END), 2).await;
    second.end().await;
    for events in told(&bus).values() {
        assert_eq!(kinds(events), WAY);
    }
}
