//! pay over HTTP, without a socket, and on the bus in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use pay::adapters::events::subscription;
use pay::config::Config;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use service_kit::env::Env;
use service_kit::events::memory::MemoryBus;
use service_kit::events::{Event, EventBus, EventId};
use tower::ServiceExt;

async fn pay<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Router {
    build(None, env).await
}

async fn pay_on(bus: &Arc<MemoryBus>) -> Router {
    build(Some(Arc::clone(bus)), []).await
}

pub(crate) async fn build<'a>(
    bus: Option<Arc<MemoryBus>>,
    env: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Router {
    let swift = [("PAY_LATENCY_BASE", "1ms"), ("PAY_LATENCY_JITTER", "1ms")];
    let env = Env::of_pairs(swift.into_iter().chain(env));
    let config = Config::from_env(env).unwrap();
    let bus = bus.map(|bus| bus as Arc<dyn EventBus>);
    let built = pay::build_on(bus, &config, Registry::default()).await;
    let (routers, _background) = built.unwrap();
    routers.on_one_port()
}

pub(crate) async fn post(pay: &Router, body: &Value) -> Response<Body> {
    let request = Request::post("/payments")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    pay.clone().oneshot(request).await.unwrap()
}

pub(crate) async fn get(pay: &Router, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    pay.clone().oneshot(request).await.unwrap()
}

pub(crate) async fn json_of(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn a_payment_is_taken_and_can_be_seen() {
    let pay = pay([]).await;
    let taken = post(&pay, &json!({"orderId": "42", "amount": 18_000})).await;
    assert_eq!(taken.status(), StatusCode::CREATED);
    assert_eq!(header(&taken, "location"), "/payments/42");
    let latency: f64 = header(&taken, "x-simulated-latency-ms").parse().unwrap();
    assert!((1.0..=2.0).contains(&latency));
    let expected = json!({"orderId": "42", "amount": 18_000, "status": "taken"});
    assert_eq!(json_of(taken).await, expected);
    assert_eq!(json_of(get(&pay, "/payments/42").await).await, expected);
    assert_eq!(
        json_of(get(&pay, "/payments").await).await,
        json!([expected])
    );
}

#[tokio::test]
async fn a_repeat_returns_the_first_payment_and_other_content_is_a_conflict() {
    let pay = pay([]).await;
    let body = json!({"orderId": "42", "amount": 1});
    post(&pay, &body).await;
    let repeated = post(&pay, &body).await;
    assert_eq!(repeated.status(), StatusCode::OK);
    assert_eq!(header(&repeated, "x-simulated-latency-ms"), "0.000");
    let payment = json!({"orderId": "42", "amount": 1, "status": "taken"});
    assert_eq!(json_of(repeated).await, payment);
    for other in [
        json!({"orderId": "42", "amount": 2}),
        json!({"orderId": "42"}),
    ] {
        let response = post(&pay, &other).await;
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(
            header(&response, "content-type"),
            "application/problem+json"
        );
    }
    let payments = json_of(get(&pay, "/payments").await).await;
    assert_eq!(payments, json!([payment]));
}

#[tokio::test]
async fn of_concurrent_repeats_one_takes_the_money() {
    let pay = pay([("PAY_LATENCY_BASE", "20ms")]).await;
    let repeats: Vec<_> = (0..20)
        .map(|_| {
            let pay = pay.clone();
            tokio::spawn(async move { post(&pay, &json!({"orderId": "42"})).await.status() })
        })
        .collect();
    let mut statuses = Vec::new();
    for repeat in repeats {
        statuses.push(repeat.await.unwrap());
    }
    statuses.sort();
    assert_eq!(statuses[..19], [StatusCode::OK; 19]);
    assert_eq!(statuses[19], StatusCode::CREATED);
    let payments = json_of(get(&pay, "/payments").await).await;
    assert_eq!(payments, json!([{"orderId": "42", "status": "taken"}]));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_so() {
    let pay = pay([]).await;
    for (body, status) in [
        (json!({}), StatusCode::UNPROCESSABLE_ENTITY),
        (json!(["1", 5]), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"orderId": "a b"}), StatusCode::UNPROCESSABLE_ENTITY),
        (
            json!({"orderId": "a", "amount": -1}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json!({"orderId": "a", "tip": 1}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        let response = post(&pay, &body).await;
        assert_eq!(response.status(), status, "{body}");
        assert_eq!(json_of(response).await["status"], status.as_u16());
    }
    for (path, status) in [
        ("/payments/unknown", StatusCode::NOT_FOUND),
        ("/payments/a%20b", StatusCode::UNPROCESSABLE_ENTITY),
        ("/payments/%FF", StatusCode::BAD_REQUEST),
    ] {
        let response = get(&pay, path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(json_of(response).await["status"], status.as_u16());
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_told_so_and_nothing_is_paid() {
    let pay = pay([("BODY_LIMIT", "100")]).await;
    let json = "application/json";
    let good = r#"{"orderId": "42", "amount": 18000}"#;
    let long = format!(r#"{{"orderId": "42", "amount": 18000{}}}"#, " ".repeat(100));
    for (r#type, body, status) in [
        (json, "", StatusCode::BAD_REQUEST),
        (json, "{", StatusCode::BAD_REQUEST),
        (json, "orderId=42", StatusCode::BAD_REQUEST),
        (
            json,
            r#"{"orderId": "42", "amount": 18000,}"#,
            StatusCode::BAD_REQUEST,
        ),
        (
            json,
            r#"{"orderId": "42", "amount": "18000"}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json,
            r#"{"orderId": "42", "amount": 1.5}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json,
            r#"{"orderId": "42", "amount": 4294967296}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json,
            r#"{"orderId": 42, "amount": 18000}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("text/plain", good, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("", good, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (json, &long, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let request = Request::post("/payments").header("content-type", r#type);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let refused = pay.clone().oneshot(request).await.unwrap();
        assert_eq!(refused.status(), status, "{type}: {body}");
        assert_eq!(
            header(&refused, "content-type"),
            "application/problem+json",
            "{type}: {body}"
        );
        assert_eq!(json_of(refused).await["status"], status.as_u16());
    }
    assert_eq!(json_of(get(&pay, "/payments").await).await, json!([]));
    // What was refused is still to be had.
    let body: Value = serde_json::from_str(good).unwrap();
    assert_eq!(post(&pay, &body).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn when_all_connections_are_busy_for_too_long_the_request_is_refused() {
    let pay = pay([
        ("DB_POOL", "1"),
        ("DB_ACQUIRE_TIMEOUT", "10ms"),
        ("PAY_LATENCY_BASE", "10s"),
    ])
    .await;
    let busy = pay.clone();
    let holder = tokio::spawn(async move { post(&busy, &json!({"orderId": "a"})).await });
    // Until the holder has the connection, others get it and are only told that nothing is paid.
    let refused = loop {
        let response = get(&pay, "/payments/a").await;
        if response.status() != StatusCode::NOT_FOUND {
            break response;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&refused, "x-refusal-reason"), "pool-exhausted");
    holder.abort();
}

#[tokio::test]
async fn the_same_seed_draws_the_same_latencies() {
    let mut series = Vec::new();
    for _ in 0..2 {
        let pay = pay([("RNG_SEED", "7")]).await;
        let mut latencies = Vec::new();
        for order in ["a", "b", "c"] {
            let taken = post(&pay, &json!({"orderId": order})).await;
            latencies.push(header(&taken, "x-simulated-latency-ms").to_owned());
        }
        series.push(latencies);
    }
    assert_eq!(series[0], series[1]);
    assert_ne!(series[0][0], series[0][1]);
}

/// Tells pay something as app does, and waits until it has heard it.
pub(crate) async fn tell(bus: &MemoryBus, events: &[&Event]) {
    let events: Vec<_> = events.iter().map(|&it| it.clone().to("orders")).collect();
    bus.publish(&events).await.unwrap();
    let subscription = subscription();
    let heard = bus.until_handled(&subscription);
    tokio::time::timeout(Duration::from_secs(30), heard)
        .await
        .unwrap();
}

pub(crate) fn given_up(kind: &str, order_id: &str) -> Event {
    let payload = json!({"orderId": order_id, "amount": 18_000});
    let mut event = Event::new(kind, order_id, "app", &payload);
    event.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    event
}

/// What pay has told, once it is `count` different events: each comes at least once.
pub(crate) async fn refunds(bus: &MemoryBus, count: usize) -> Vec<Event> {
    loop {
        let told = bus.events("payments");
        let different: BTreeSet<EventId> = told.iter().map(|event| event.id).collect();
        if different.len() >= count {
            return told;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn its_topic_is_there_before_the_first_refund() {
    let bus = Arc::new(MemoryBus::new());
    let _pay = pay_on(&bus).await;
    let made = async {
        while !bus.has_topic("payments") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), made)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_paid_for_an_order_that_is_not_brought_is_given_back_once() {
    let bus = Arc::new(MemoryBus::new());
    let pay = pay_on(&bus).await;
    let body = json!({"orderId": "42", "amount": 18_000});
    post(&pay, &body).await;
    post(&pay, &json!({"orderId": "43"})).await;
    let cancelled = given_up("OrderCancelled", "42");
    let of_unknown_amount = given_up("OrderAbandoned", "43");
    let again = given_up("OrderAbandoned", "42");
    let other = Event::new("OrderPaid", "42", "app", &json!({"orderId": "42"}));
    tell(
        &bus,
        &[&other, &cancelled, &cancelled, &of_unknown_amount, &again],
    )
    .await;
    let mut told = refunds(&bus, 2).await;
    told.sort_by(|a, b| a.key.cmp(&b.key));
    for (refund, cause) in told.iter().zip([&cancelled, &of_unknown_amount]) {
        assert_eq!(
            (refund.kind.as_str(), refund.schema_version),
            ("PaymentRefunded", 1)
        );
        assert_eq!(refund.correlation_id, cause.correlation_id);
        assert_eq!(refund.causation_id, cause.id.to_string());
        let payload: Value = serde_json::from_str(&refund.payload).unwrap();
        assert_eq!(payload, json!({"orderId": cause.key, "amount": 18_000}));
        let traceparent = refund.traceparent.as_deref().unwrap();
        assert!(traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    }
    let payments = json_of(get(&pay, "/payments").await).await;
    let expected = json!([
        {"orderId": "42", "amount": 18_000, "status": "refunded"},
        {"orderId": "43", "status": "refunded"}
    ]);
    assert_eq!(payments, expected);
    assert_eq!(post(&pay, &body).await.status(), StatusCode::CONFLICT);
    assert_eq!(bus.events("payments").len(), 2);
}

#[tokio::test]
async fn an_order_that_was_given_up_first_is_never_paid() {
    let bus = Arc::new(MemoryBus::new());
    let pay = pay_on(&bus).await;
    tell(&bus, &[&given_up("OrderAbandoned", "42")]).await;
    let declined = post(&pay, &json!({"orderId": "42", "amount": 18_000})).await;
    assert_eq!(declined.status(), StatusCode::CONFLICT);
    assert_eq!(json_of(get(&pay, "/payments").await).await, json!([]));
    assert_eq!(
        get(&pay, "/payments/42").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(bus.events("payments"), []);
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let bus = Arc::new(MemoryBus::new());
    let pay = pay_on(&bus).await;
    post(&pay, &json!({"orderId": "42", "amount": 18_000})).await;
    let mut newer = given_up("OrderCancelled", "42");
    newer.schema_version = 2;
    let misnamed = given_up("OrderCancelled", "4 2");
    let priceless = Event::new("OrderAbandoned", "42", "app", &json!({"orderId": "42"}));
    let fine = given_up("OrderCancelled", "42");
    tell(&bus, &[&newer, &misnamed, &priceless, &fine]).await;
    assert_eq!(bus.records("orders.pay.dead-letters").len(), 3);
    assert_eq!(refunds(&bus, 1).await.len(), 1);
}
