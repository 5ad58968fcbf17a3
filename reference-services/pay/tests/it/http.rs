//! pay over HTTP, without a socket.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use pay::config::Config;
use serde_json::{Value, json};
use service_kit::env::Env;
use tower::ServiceExt;

async fn pay<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Router {
    let swift = [("PAY_LATENCY_BASE", "1ms"), ("PAY_LATENCY_JITTER", "1ms")];
    let env = Env::of_pairs(swift.into_iter().chain(env));
    pay::build(&Config::from_env(env).unwrap()).await.unwrap()
}

async fn post(pay: &Router, body: &Value) -> Response<Body> {
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

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
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
    let expected = json!({"orderId": "42", "amount": 18_000});
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
    assert_eq!(json_of(repeated).await, body);
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
    assert_eq!(json_of(get(&pay, "/payments").await).await, json!([body]));
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
    assert_eq!(payments, json!([{"orderId": "42"}]));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_so() {
    let pay = pay([]).await;
    for (body, status) in [
        (json!({}), StatusCode::UNPROCESSABLE_ENTITY),
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
    for path in ["/payments/unknown", "/payments/a%20b"] {
        assert!(get(&pay, path).await.status().is_client_error());
    }
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
