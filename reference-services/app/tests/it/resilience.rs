//! Repeated payments, presets and endpoints, as customers and `/metrics` see them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use service_kit::events::memory::MemoryBus;

use crate::events::told;
use crate::rig::{app, app_on, get, header, json_of, order};
use crate::scripted_pay::{Script, ScriptedPay};

const TWO_REPEATS: [(&str, &str); 3] = [
    ("PAY_RETRY_ATTEMPTS", "2"),
    ("PAY_RETRY_BACKOFF", "1ms"),
    ("PAY_BREAKER", "off"),
];

fn reason(refused: &Response<Body>) -> &str {
    header(refused, "x-refusal-reason")
}

async fn assert_shows(app: &Router, series: &[&str]) {
    let body = get(app, "/metrics").await.into_body();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    for series in series {
        assert!(
            text.lines().any(|line| line == *series),
            "no {series} in\n{text}"
        );
    }
}

/// As many tries as there are, all for one order.
fn assert_one_order(tries: &[String]) {
    let orders: BTreeSet<_> = tries.iter().collect();
    assert_eq!(orders.len(), 1, "{tries:?}");
}

/// As many spans as there are tries, all in one trace.
fn assert_one_trace(traceparents: &[String]) {
    let traces: BTreeSet<_> = traceparents.iter().map(|it| &it[..35]).collect();
    let spans: BTreeSet<_> = traceparents.iter().map(|it| &it[36..52]).collect();
    assert_eq!(
        (traces.len(), spans.len()),
        (1, traceparents.len()),
        "{traceparents:?}"
    );
}

#[tokio::test]
async fn a_payment_that_failed_is_asked_for_again_for_the_same_order() {
    let pay = ScriptedPay::start(Script::First(StatusCode::INTERNAL_SERVER_ERROR)).await;
    let url = pay.url();
    let app = app(&url, TWO_REPEATS).await;
    assert_eq!(order(&app).await.status(), StatusCode::CREATED);
    let tries = pay.asked(2).await;
    assert_eq!(tries.len(), 2);
    assert_one_order(&tries);
    assert_one_trace(&pay.traceparents());
    let series = [
        "payment_attempts_total 2",
        "payment_retries_total{on=\"failure\"} 1",
        "payment_retries_total{on=\"timeout\"} 0",
        "payment_retries_refused_total 0",
    ];
    assert_shows(&app, &series).await;
}

#[tokio::test]
async fn repeats_end_and_are_made_only_on_what_was_asked_for() {
    for (on, tries) in [("failure", 3), ("timeout,rejected,refused", 1)] {
        let pay = ScriptedPay::start(Script::Answer(StatusCode::BAD_GATEWAY)).await;
        let url = pay.url();
        let env = TWO_REPEATS.into_iter().chain([("PAY_RETRY_ON", on)]);
        let app = app(&url, env).await;
        let refused = order(&app).await;
        assert_eq!(reason(&refused), "upstream-error");
        let asked = pay.asked(tries).await;
        assert_eq!(asked.len(), tries);
        assert_one_order(&asked);
    }
}

#[tokio::test]
async fn without_the_setting_nothing_is_repeated() {
    let pay = ScriptedPay::start(Script::Answer(StatusCode::BAD_GATEWAY)).await;
    let app = app(&pay.url(), []).await;
    assert_eq!(reason(&order(&app).await), "upstream-error");
    assert_eq!(pay.asked(1).await.len(), 1);
}

#[tokio::test]
async fn the_budget_ends_repeats_before_their_number_does() {
    let pay = ScriptedPay::start(Script::Answer(StatusCode::BAD_GATEWAY)).await;
    let url = pay.url();
    let budget = [
        ("PAY_RETRY_BUDGET_PER_SECOND", "0"),
        ("PAY_RETRY_BUDGET_PERCENT", "50"),
        // Longer than a busy machine may take for four orders.
        ("PAY_RETRY_BUDGET_WINDOW", "60s"),
    ];
    let app = app(&url, TWO_REPEATS.into_iter().chain(budget)).await;
    for _ in 0..4 {
        assert_eq!(reason(&order(&app).await), "upstream-error");
    }
    let series = [
        "payment_attempts_total 6",
        "payment_retries_total{on=\"failure\"} 2",
        "payment_retries_refused_total 4",
    ];
    assert_shows(&app, &series).await;
}

#[tokio::test]
async fn a_short_circuit_is_never_repeated() {
    let pay = ScriptedPay::start(Script::Answer(StatusCode::BAD_GATEWAY)).await;
    let url = pay.url();
    let app = app(
        &url,
        [
            ("PAY_RETRY_ATTEMPTS", "5"),
            ("PAY_RETRY_BACKOFF", "1ms"),
            ("PAY_BREAKER_PRESET", "gobreaker"),
            ("PAY_BREAKER_CONSECUTIVE", "2"),
        ],
    )
    .await;
    // The second try opens the circuit, the third is short-circuited.
    let refused = order(&app).await;
    // The order may have been paid by the first two all the same.
    assert_eq!(reason(&refused), "upstream-error");
    assert_eq!(reason(&order(&app).await), "breaker-open");
    assert_eq!(pay.asked(2).await.len(), 2);
    let series = [
        "payment_attempts_total 4",
        "payment_retries_total{on=\"failure\"} 2",
        "circuit_breaker_calls_total{name=\"pay\",outcome=\"short_circuited\"} 2",
        "circuit_breaker_transitions_total{name=\"pay\",from=\"closed\",to=\"open\",reason=\"consecutive_failures\"} 1",
    ];
    assert_shows(&app, &series).await;
}

#[tokio::test]
async fn an_order_that_one_of_several_tries_may_have_paid_is_abandoned() {
    let pay = ScriptedPay::start(Script::HoldFirst(StatusCode::CONFLICT)).await;
    let bus = Arc::new(MemoryBus::new());
    let url = pay.url();
    let env = [("PAY_TIMEOUT", "20ms")].into_iter().chain(TWO_REPEATS);
    let app = app_on(&bus, &url, env).await;
    let refused = order(&app).await;
    assert_eq!(refused.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(reason(&refused), "timeout");
    let tries = pay.asked(2).await;
    assert_one_order(&tries);
    assert_eq!(json_of(get(&app, "/orders").await).await, json!([]));
    let events = told(&bus, 1).await;
    assert_eq!(events[0].kind, "OrderAbandoned");
}

#[tokio::test]
async fn each_endpoint_has_a_circuit_of_its_own() {
    let good = ScriptedPay::start(Script::Answer(StatusCode::CREATED)).await;
    let bad = ScriptedPay::start(Script::Answer(StatusCode::BAD_GATEWAY)).await;
    let (good_url, bad_url) = (good.url(), bad.url());
    let hosts = [&good_url, &bad_url].map(|url| url.trim_start_matches("http://"));
    let endpoints = hosts.join(",");
    let env = [
        ("PAY_SCOPE", "endpoint"),
        ("PAY_ENDPOINTS", &*endpoints),
        ("PAY_BREAKER_PRESET", "envoy"),
        ("PAY_RETRY_ATTEMPTS", "1"),
        ("PAY_RETRY_BACKOFF", "1ms"),
    ];
    let app = app("http://unused", env).await;
    // A payment that failed at one endpoint is asked for at the other.
    for _ in 0..12 {
        assert_eq!(order(&app).await.status(), StatusCode::CREATED);
    }
    assert_eq!(bad.asked(5).await.len(), 5);
    let [good, bad] = hosts.map(|host| format!("circuit_breaker_state{{name=\"pay@{host}\""));
    let series = [
        format!("{good},state=\"closed\"}} 1"),
        format!("{bad},state=\"open\"}} 1"),
    ];
    assert_shows(&app, &series.each_ref().map(String::as_str)).await;
}
