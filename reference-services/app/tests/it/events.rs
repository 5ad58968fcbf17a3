//! app on the bus: what it tells of its orders, and how they follow the store.

use std::sync::Arc;
use std::time::Duration;

use app::adapters::events::subscription;
use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};
use service_kit::events::memory::MemoryBus;
use service_kit::events::{Event, EventBus as _};
use test_servers::Nowhere;

use crate::rig::{app, app_on, get, json_of, order, post, post_with};
use crate::scripted_pay::{Script, ScriptedPay};

const PAID: Script = Script::Answer(StatusCode::CREATED);
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for the events of app, until there are `count` of them.
pub(crate) async fn told(bus: &MemoryBus, count: usize) -> Vec<Event> {
    let enough = async {
        loop {
            let events = bus.events("orders");
            if events.len() >= count {
                return events;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.unwrap()
}

fn payload(event: &Event) -> Value {
    serde_json::from_str(&event.payload).unwrap()
}

/// Tells app something as the store does, and waits until it has heard it.
pub(crate) async fn tell(bus: &MemoryBus, events: impl IntoIterator<Item = Event>) {
    let events: Vec<_> = events.into_iter().map(|it| it.to("deliveries")).collect();
    bus.publish(&events).await.unwrap();
    let subscription = subscription();
    let heard = bus.until_handled(&subscription);
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
}

pub(crate) fn delivery(kind: &str, id: &str) -> Event {
    Event::new(kind, id, "store", &json!({"orderId": id}))
}

pub(crate) async fn id_of_order(app: &Router) -> String {
    let placed = json_of(order(app).await).await;
    placed["id"].as_str().unwrap().to_owned()
}

async fn status(app: &Router, id: &str) -> String {
    let order = json_of(get(app, &format!("/orders/{id}")).await).await;
    order["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn its_topic_is_there_before_the_first_order() {
    let nowhere = Nowhere::new().unwrap();
    let bus = Arc::new(MemoryBus::new());
    let _app = app_on(&bus, nowhere.url(), []).await;
    let made = async {
        while !bus.has_topic("orders") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, made).await.unwrap();
}

#[tokio::test]
async fn a_paid_order_is_told_with_all_that_the_store_needs() {
    let pay = ScriptedPay::start(PAID).await;
    let bus = Arc::new(MemoryBus::new());
    let app = app_on(&bus, &pay.url(), []).await;
    let body = json!({"item": "피자", "quantity": 2, "address": "서울"});
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("x-request-id", "request-7"), ("traceparent", trace)];
    let placed = json_of(post_with(&app, "/orders", &body, &headers).await).await;
    let id = placed["id"].as_str().unwrap();
    let events = told(&bus, 1).await;
    let event = &events[0];
    assert_eq!(
        (
            event.kind.as_str(),
            event.schema_version,
            event.key.as_str()
        ),
        ("OrderPaid", 1, id)
    );
    assert_eq!(event.correlation_id, id);
    assert_eq!(event.causation_id, "request-7");
    let traceparent = event.traceparent.as_deref().unwrap();
    assert!(traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert_eq!(
        payload(event),
        json!({"orderId": id, "item": "pizza", "quantity": 2, "address": "서울", "amount": 48_000})
    );
    // An address that nobody gave is not there, rather than null.
    order(&app).await;
    let events = told(&bus, 2).await;
    assert_eq!(payload(&events[1]).get("address"), None);
}

#[tokio::test]
async fn an_order_that_was_perhaps_paid_is_told_to_be_abandoned() {
    let pay = ScriptedPay::start(Script::Answer(StatusCode::INTERNAL_SERVER_ERROR)).await;
    let bus = Arc::new(MemoryBus::new());
    let app = app_on(&bus, &pay.url(), []).await;
    order(&app).await;
    let id = pay.asked(1).await.remove(0);
    let events = told(&bus, 1).await;
    assert_eq!(events[0].kind, "OrderAbandoned");
    assert_eq!(
        payload(&events[0]),
        json!({"orderId": id, "amount": 18_000})
    );
}

#[tokio::test]
async fn a_payment_that_comes_after_the_limit_is_given_back() {
    let pay = ScriptedPay::start(Script::Hold).await;
    let bus = Arc::new(MemoryBus::new());
    let url = pay.url();
    let env = [("ORDER_INTENT_LIMIT", "10ms"), ("PAY_TIMEOUT", "0")];
    let app = app_on(&bus, &url, env).await;
    let customer = app.clone();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-";
    let customer = tokio::spawn(async move {
        let traceparent = format!("{trace}b7ad6b7169203331-01");
        let headers = [("traceparent", &*traceparent)];
        post_with(&customer, "/orders", &json!({"item": "치킨"}), &headers).await
    });
    pay.asked(1).await;
    let abandoned = &told(&bus, 1).await[0];
    assert_eq!(abandoned.kind, "OrderAbandoned");
    // By the clock, and still in the trace of the request.
    assert_eq!(abandoned.causation_id, "clock");
    assert!(abandoned.traceparent.as_ref().unwrap().starts_with(trace));
    pay.allow(1);
    let refused = customer.await.unwrap();
    assert_eq!(refused.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(json_of(get(&app, "/orders").await).await, json!([]));
    assert_eq!(bus.events("orders").len(), 1);
}

#[tokio::test]
async fn an_order_follows_the_store_and_never_goes_back() {
    let pay = ScriptedPay::start(PAID).await;
    let bus = Arc::new(MemoryBus::new());
    let app = app_on(&bus, &pay.url(), []).await;
    let id = id_of_order(&app).await;
    let accepted = delivery("OrderAccepted", &id);
    for (event, expected) in [
        (accepted.clone(), "accepted"),
        (delivery("CookingStarted", &id), "cooking"),
        (accepted, "cooking"),
        (delivery("OrderAccepted", &id), "cooking"),
        (delivery("SomethingNew", &id), "cooking"),
        (delivery("OrderDelivered", &id), "delivered"),
        (delivery("RiderAssigned", &id), "delivered"),
        (delivery("DeliveryCancelled", &id), "delivered"),
    ] {
        tell(&bus, [event]).await;
        assert_eq!(status(&app, &id).await, expected);
    }
    let unknown = delivery("OrderAccepted", &"0".repeat(32));
    tell(&bus, [unknown]).await;
    assert_eq!(bus.events("orders").len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let pay = ScriptedPay::start(PAID).await;
    let bus = Arc::new(MemoryBus::new());
    let app = app_on(&bus, &pay.url(), []).await;
    let id = id_of_order(&app).await;
    let mut newer = delivery("OrderDelivered", &id);
    newer.schema_version = 2;
    let nameless = Event::new(
        "OrderDelivered",
        id.clone(),
        "store",
        &json!({"orderId": 7}),
    );
    let misnamed = Event::new(
        "OrderDelivered",
        id.clone(),
        "store",
        &json!({"orderId": "7"}),
    );
    let fine = delivery("OrderAccepted", &id);
    tell(&bus, [newer, nameless, misnamed, fine]).await;
    assert_eq!(status(&app, &id).await, "accepted");
    assert_eq!(bus.records("deliveries.app.dead-letters").len(), 3);
}

#[tokio::test]
async fn a_cancellation_is_asked_of_the_store_and_answered() {
    let pay = ScriptedPay::start(PAID).await;
    let bus = Arc::new(MemoryBus::new());
    let app = app_on(&bus, &pay.url(), []).await;
    let id = id_of_order(&app).await;
    let path = format!("/orders/{id}/cancellation");
    for _ in 0..2 {
        let asked = post(&app, &path, &json!({})).await;
        assert_eq!(asked.status(), StatusCode::ACCEPTED);
        assert_eq!(
            json_of(asked).await,
            json!({"id": id, "status": "cancelling"})
        );
    }
    let events = told(&bus, 2).await;
    assert_eq!(events[1].kind, "CancellationRequested");
    assert_eq!(payload(&events[1]), json!({"orderId": id}));
    let cancelled = delivery("DeliveryCancelled", &id);
    let cause = cancelled.id.to_string();
    tell(&bus, [cancelled.clone(), cancelled]).await;
    assert_eq!(status(&app, &id).await, "cancelled");
    let events = told(&bus, 3).await;
    assert_eq!(events[2].kind, "OrderCancelled");
    assert_eq!(
        payload(&events[2]),
        json!({"orderId": id, "amount": 18_000})
    );
    assert_eq!(events[2].causation_id, cause);
    assert_eq!(
        post(&app, &path, &json!({})).await.status(),
        StatusCode::ACCEPTED
    );
    assert_eq!(bus.events("orders").len(), 3);
}

#[tokio::test]
async fn a_cancellation_that_comes_too_late_is_refused() {
    let pay = ScriptedPay::start(PAID).await;
    let bus = Arc::new(MemoryBus::new());
    let app = app_on(&bus, &pay.url(), []).await;
    let [early, late] = [id_of_order(&app).await, id_of_order(&app).await];
    let path = |id: &str| format!("/orders/{id}/cancellation");
    // Asked for in time, as far as app knew; the store knew better.
    let asked = post(&app, &path(&early), &json!({})).await;
    assert_eq!(asked.status(), StatusCode::ACCEPTED);
    tell(&bus, [delivery("CancellationRefused", &early)]).await;
    assert_eq!(status(&app, &early).await, "cooking");
    tell(&bus, [delivery("CookingStarted", &late)]).await;
    for id in [early, late] {
        let refused = post(&app, &path(&id), &json!({})).await;
        assert_eq!(refused.status(), StatusCode::CONFLICT);
        assert_eq!(json_of(refused).await["status"], 409);
    }
    for unknown in ["1", "00000000000000000000000000000000"] {
        let missing = post(&app, &path(unknown), &json!({})).await;
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_repeated_key_is_one_order_and_another_content_is_refused() {
    let pay = ScriptedPay::start(PAID).await;
    let app = app(&pay.url(), []).await;
    let key = [("idempotency-key", "8e03978e-40d5")];
    let body = json!({"item": "chicken", "quantity": 2});
    let first = post_with(&app, "/orders", &body, &key).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let first = json_of(first).await;
    // The same in the other language of the business.
    let same = json!({"품목": "치킨", "수량": "2"});
    let again = post_with(&app, "/주문s", &same, &key).await;
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(json_of(again).await, first);
    let other = post_with(&app, "/orders", &json!({"item": "pizza"}), &key).await;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    for bad in ["", "a b", &"k".repeat(129)] {
        let refused = post_with(&app, "/orders", &body, &[("idempotency-key", bad)]).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(json_of(get(&app, "/orders").await).await, json!([first]));
    assert_eq!(pay.asked(1).await.len(), 1);
}

#[tokio::test]
async fn a_key_whose_order_is_under_way_is_told_to_wait() {
    let pay = ScriptedPay::start(Script::Hold).await;
    let url = pay.url();
    let app = app(&url, [("PAY_TIMEOUT", "0")]).await;
    let key = [("idempotency-key", "k")];
    let body = json!({"item": "chicken"});
    let (first_app, first_body) = (app.clone(), body.clone());
    let first = tokio::spawn(async move {
        post_with(&first_app, "/orders", &first_body, &key)
            .await
            .status()
    });
    pay.asked(1).await;
    let waiting = post_with(&app, "/orders", &body, &key).await;
    assert_eq!(waiting.status(), StatusCode::CONFLICT);
    assert_eq!(waiting.headers()["retry-after"], "1");
    pay.allow(1);
    assert_eq!(first.await.unwrap(), StatusCode::CREATED);
    let again = post_with(&app, "/orders", &body, &key).await;
    assert_eq!(again.status(), StatusCode::OK);
}
