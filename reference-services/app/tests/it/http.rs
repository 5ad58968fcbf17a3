//! app over HTTP, without a socket in front and with a scripted pay behind.

use std::time::Duration;

use app::domain::Address;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use test_servers::Nowhere;
use tower::ServiceExt as _;

use crate::rig::{app, get, header, json_of, order, post};
use crate::scripted_pay::{Script, ScriptedPay};

const PAID: Script = Script::Answer(StatusCode::CREATED);

fn assert_refused(response: &Response<Body>, status: StatusCode, reason: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(header(response, "x-refusal-reason"), reason);
    assert_eq!(header(response, "content-type"), "application/problem+json");
}

#[tokio::test]
async fn a_paid_order_is_created_and_can_be_seen() {
    let pay = ScriptedPay::start(PAID).await;
    let app = app(&pay.url(), []).await;
    let created = order(&app).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let location = header(&created, "location").to_owned();
    let order = json_of(created).await;
    let id = order["id"].as_str().unwrap();
    assert_eq!(location, format!("/orders/{id}"));
    assert_eq!(
        order,
        json!({"id": id, "item": "chicken", "quantity": 1, "amount": 18_000, "status": "paid"})
    );
    assert_eq!(pay.asked(1).await, [id]);
    assert_eq!(json_of(get(&app, &location).await).await, order);
    assert_eq!(json_of(get(&app, "/orders").await).await, json!([order]));
}

#[tokio::test]
async fn the_korean_names_mean_the_same() {
    let pay = ScriptedPay::start(PAID).await;
    let app = app(&pay.url(), []).await;
    let body = json!({"품목": "통닭", "수량": "2", "주소": "서울"});
    for path in ["/%EC%A3%BC%EB%AC%B8s", "/%ec%a3%bc%eb%ac%b8s", "/주문s"] {
        let created = post(&app, path, &body).await;
        assert_eq!(created.status(), StatusCode::CREATED, "{path}");
        let order = json_of(created).await;
        assert_eq!(order["item"], "chicken");
        assert_eq!(order["quantity"], 2);
        assert_eq!(order["address"], "서울");
        let id = order["id"].as_str().unwrap();
        assert_eq!(
            json_of(get(&app, &format!("{path}/{id}")).await).await,
            order
        );
    }
    assert_eq!(
        json_of(get(&app, "/주문s").await)
            .await
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn replicas_with_the_same_seed_do_not_give_two_orders_the_same_name() {
    let pay = ScriptedPay::start(PAID).await;
    let url = pay.url();
    for _ in 0..2 {
        let app = app(&url, [("RNG_SEED", "7")]).await;
        assert_eq!(order(&app).await.status(), StatusCode::CREATED);
    }
    let names = pay.asked(2).await;
    assert_ne!(names[0], names[1]);
}

#[tokio::test]
async fn orders_that_make_no_sense_are_told_so() {
    let nowhere = Nowhere::new().unwrap();
    let app = app(nowhere.url(), [("BODY_LIMIT", "100000")]).await;
    let long = "x".repeat(Address::LONGEST + 1);
    for body in [
        json!({}),
        json!({"item": "gold"}),
        json!({"item": 1}),
        json!({"item": "chicken", "quantity": 0}),
        json!({"item": "chicken", "quantity": "many"}),
        json!({"item": "chicken", "quantity": 101}),
        json!({"item": "chicken", "address": 5}),
        json!({"item": "chicken", "address": "a\0"}),
        json!({"품목": "치킨", "주소": "a\0"}),
        json!({"item": "chicken", "address": long}),
        // What an order is made of, but nothing says so.
        json!(["chicken", 1, null]),
    ] {
        let response = post(&app, "/orders", &body).await;
        assert_eq!(
            response.status(),
            StatusCode::UNPROCESSABLE_ENTITY,
            "{body}"
        );
        assert_eq!(json_of(response).await["status"], 422);
    }
    let not_json = Request::post("/orders")
        .header("content-type", "application/json")
        .body(Body::from("{"))
        .unwrap();
    let response = app.clone().oneshot(not_json).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    for (path, status) in [
        ("/orders/1", StatusCode::NOT_FOUND),
        (
            "/orders/00000000000000000000000000000000",
            StatusCode::NOT_FOUND,
        ),
        ("/orders/%FF", StatusCode::BAD_REQUEST),
    ] {
        let response = get(&app, path).await;
        assert_eq!(response.status(), status, "{path}");
        let content = header(&response, "content-type");
        assert_eq!(content, "application/problem+json", "{path}");
    }
    let response = post(&app, "/orders/%FF/cancellation", &json!({})).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json_of(response).await["status"], 400);
}

#[tokio::test]
async fn a_failing_pay_is_an_upstream_error_until_the_breaker_opens() {
    let pay = ScriptedPay::start(Script::Answer(StatusCode::INTERNAL_SERVER_ERROR)).await;
    let url = pay.url();
    let app = app(
        &url,
        [
            ("PAY_BREAKER_MIN_CALLS", "1"),
            ("PAY_BREAKER_WINDOW", "1s"),
            ("PAY_BREAKER_BUCKET", "10ms"),
            ("PAY_BREAKER_SLEEP", "100s"),
        ],
    )
    .await;
    // Asked before the first failure, which opens the circuit at a tick: perhaps before its own answer.
    let orders = get(&app, "/orders").await;
    assert_eq!(header(&orders, "x-circuit"), "closed;changes=0");
    let refused = order(&app).await;
    assert_refused(&refused, StatusCode::BAD_GATEWAY, "upstream-error");
    let opened = async {
        loop {
            let refused = order(&app).await;
            if header(&refused, "x-refusal-reason") != "upstream-error" {
                break refused;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(30), opened)
        .await
        .unwrap();
    assert_refused(&refused, StatusCode::SERVICE_UNAVAILABLE, "breaker-open");
    assert_eq!(header(&refused, "retry-after"), "100");
    let circuit = "open;reason=failure_rate;changes=1";
    assert_eq!(header(&refused, "x-circuit"), circuit);
    let orders = get(&app, "/orders").await;
    assert_eq!(header(&orders, "x-circuit"), circuit);
    assert_eq!(json_of(orders).await, json!([]));
}

#[tokio::test]
async fn a_pay_that_cannot_be_reached() {
    let nowhere = Nowhere::new().unwrap();
    let app = app(nowhere.url(), []).await;
    let refused = order(&app).await;
    assert_refused(&refused, StatusCode::SERVICE_UNAVAILABLE, "connect");
    assert_eq!(json_of(get(&app, "/orders").await).await, json!([]));
}

#[tokio::test]
async fn a_declined_payment() {
    let pay = ScriptedPay::start(Script::Answer(StatusCode::CONFLICT)).await;
    let app = app(&pay.url(), []).await;
    assert_eq!(order(&app).await.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(json_of(get(&app, "/orders").await).await, json!([]));
}

#[tokio::test]
async fn a_slow_pay_times_out_and_keeps_its_place_in_the_bulkhead() {
    let pay = ScriptedPay::start(Script::Hold).await;
    let url = pay.url();
    let app = app(&url, [("PAY_TIMEOUT", "50ms"), ("PAY_BULKHEAD", "1")]).await;
    let refused = order(&app).await;
    assert_refused(&refused, StatusCode::GATEWAY_TIMEOUT, "timeout");
    let refused = order(&app).await;
    assert_refused(&refused, StatusCode::SERVICE_UNAVAILABLE, "bulkhead-full");
    assert_eq!(json_of(get(&app, "/orders").await).await, json!([]));
    assert_eq!(pay.asked(1).await.len(), 1);
}

#[tokio::test]
async fn orders_under_way_use_up_the_connections() {
    let pay = ScriptedPay::start(Script::Hold).await;
    let url = pay.url();
    let app = app(
        &url,
        [
            ("DB_POOL", "1"),
            ("DB_ACQUIRE_TIMEOUT", "20ms"),
            ("PAY_TIMEOUT", "0"),
        ],
    )
    .await;
    let first = app.clone();
    let first = tokio::spawn(async move { order(&first).await.status() });
    pay.asked(1).await;
    let refused = order(&app).await;
    assert_refused(&refused, StatusCode::SERVICE_UNAVAILABLE, "pool-exhausted");
    pay.allow(1);
    assert_eq!(first.await.unwrap(), StatusCode::CREATED);
}

#[tokio::test]
async fn an_order_is_brought_to_its_end_when_the_customer_goes_away() {
    let pay = ScriptedPay::start(Script::Hold).await;
    let url = pay.url();
    let app = app(&url, [("PAY_TIMEOUT", "0")]).await;
    let customer = app.clone();
    let customer = tokio::spawn(async move { order(&customer).await });
    let ids = pay.asked(1).await;
    customer.abort();
    assert!(customer.await.unwrap_err().is_cancelled());
    pay.allow(1);
    let path = format!("/orders/{}", ids[0]);
    let accepted = async {
        while get(&app, &path).await.status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), accepted)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_steps_and_the_calls_are_measured() {
    let pay = ScriptedPay::start(PAID).await;
    let app = app(&pay.url(), []).await;
    order(&app).await;
    let body = get(&app, "/metrics").await.into_body();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    for series in [
        "circuit_breaker_state{name=\"pay\",state=\"closed\"} 1",
        "circuit_breaker_state{name=\"pay\",state=\"open\"} 0",
        "circuit_breaker_state{name=\"pay\",state=\"half_open\"} 0",
        "circuit_breaker_calls_total{name=\"pay\",outcome=\"success\"} 1",
        "bulkhead_permits_in_use{name=\"pay\"} 0",
        "order_step_duration_seconds_count{step=\"insert\"} 1",
        "order_step_duration_seconds_count{step=\"commit\"} 1",
        "order_step_duration_seconds_count{step=\"rollback\"} 0",
        "db_client_connections_used{purpose=\"requests\"} 0",
        "db_client_connections_max{purpose=\"requests\"} 10",
    ] {
        assert!(
            text.lines().any(|line| line == series),
            "no {series} in\n{text}"
        );
    }
}
