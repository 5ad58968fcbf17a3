//! Clients that ask too often, and more requests than can be in hand.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};

use crate::entry::{
    HOME, assert_metric, assert_refused, gateway, get, get_as, header, open_gateway, send,
};
use crate::scripted_upstream::{Script, ScriptedUpstream};
use crate::tokens::token_of;

/// Another address than [`HOME`].
const ELSEWHERE: &str = "192.0.2.2:5000";

/// Asks for the orders from `address`, and tells how that ended.
async fn ask(gateway: &Router, address: &str, authorization: &str) -> StatusCode {
    let address: SocketAddr = address.parse().unwrap();
    let request = Request::get("/orders")
        .extension(ConnectInfo(address))
        .header("authorization", authorization)
        .body(Body::empty());
    send(gateway, request.unwrap()).await.status()
}

#[tokio::test]
async fn each_client_has_a_share_wherever_it_asks_from() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let url = app.url();
    let gateway = gateway([
        ("APP_URL", url.as_str()),
        ("RATE_LIMIT", "1"),
        ("RATE_BURST", "2"),
    ]);
    let [web, auditor] = ["web", "auditor"].map(|client| token_of(client, "orders:read"));
    for address in [HOME, ELSEWHERE] {
        assert_eq!(ask(&gateway, address, &web).await, StatusCode::OK);
    }
    for address in [HOME, ELSEWHERE] {
        let status = ask(&gateway, address, &web).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{address}");
    }
    for _ in 0..2 {
        assert_eq!(ask(&gateway, HOME, &auditor).await, StatusCode::OK);
    }
    let status = ask(&gateway, HOME, &auditor).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn who_has_no_good_token_shares_with_everybody_at_that_address_and_with_nobody_else() {
    let gateway = gateway([("RATE_LIMIT", "1"), ("RATE_BURST", "2")]);
    for guess in ["Bearer one", "Bearer two"] {
        let status = ask(&gateway, HOME, guess).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let status = ask(&gateway, HOME, "Bearer three").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let status = ask(&gateway, ELSEWHERE, "Bearer three").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let url = app.url();
    let gateway = open_gateway([
        ("APP_URL", url.as_str()),
        ("RATE_LIMIT", "1"),
        ("RATE_BURST", "2"),
    ]);
    for _ in 0..2 {
        assert_eq!(get(&gateway, "/orders").await.status(), StatusCode::OK);
    }
    let refused = get(&gateway, "/orders").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(header(&refused, "content-type"), "application/problem+json");
    assert_eq!(app.asked_so_far().len(), 2);
    assert_metric(&gateway, "gateway_refusals_total{reason=\"rate\"} 1").await;
}

#[tokio::test]
async fn guessing_tokens_and_secrets_is_limited_too() {
    let gateway = gateway([("RATE_LIMIT", "1"), ("RATE_BURST", "3")]);
    for _ in 0..3 {
        let refused = get_as(&gateway, "/orders", "Bearer guess").await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    let refused = get_as(&gateway, "/orders", "Bearer guess").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);

    let form = axum::http::Request::post("/oauth2/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials&client_id=web&client_secret=guess".into())
        .unwrap();
    let refused = crate::entry::send(&gateway, form).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "retry-after"), "1");
}

#[tokio::test]
async fn more_than_can_be_in_hand_is_shed_and_other_services_are_not_touched() {
    let app = ScriptedUpstream::start(Script::Hold).await;
    let store = ScriptedUpstream::start(Script::Echo).await;
    let (app_url, store_url) = (app.url(), store.url());
    let gateway = open_gateway([
        ("APP_URL", app_url.as_str()),
        ("STORE_URL", store_url.as_str()),
        ("IN_FLIGHT_LIMIT", "1"),
    ]);
    // The first one is an increase.
    assert_metric(&gateway, "gateway_refusals_total{reason=\"shed\"} 0").await;
    let first = gateway.clone();
    let first = tokio::spawn(async move { get(&first, "/orders").await });
    app.asked(1).await;
    let refused = get(&gateway, "/orders").await;
    assert_refused(&refused, StatusCode::SERVICE_UNAVAILABLE, "shed");
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(get(&gateway, "/deliveries").await.status(), StatusCode::OK);
    assert_metric(&gateway, "gateway_requests_in_flight{upstream=\"app\"} 1").await;
    assert_metric(&gateway, "gateway_refusals_total{reason=\"shed\"} 1").await;

    app.allow(1);
    let answered = first.await.unwrap();
    assert_eq!(answered.status(), StatusCode::OK);
    let refused = get(&gateway, "/orders").await;
    assert_refused(&refused, StatusCode::SERVICE_UNAVAILABLE, "shed");
    // The place is free once the answer is sent, not once it has begun.
    drop(answered);
    app.allow(1);
    assert_eq!(get(&gateway, "/orders").await.status(), StatusCode::OK);
}
