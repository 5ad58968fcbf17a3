//! marketing over HTTP, without a socket.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use marketing::adapters::http;
use marketing::domain::Percent;
use marketing::service::MarketingService;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::doubles::{InMemoryLedger, delivered};

#[tokio::test]
async fn coupons_are_listed_in_the_order_of_their_issue() {
    let ledger = Arc::new(InMemoryLedger::default());
    let percent = Percent::new(25).unwrap();
    let service = MarketingService::new(ledger, percent, &mut Registry::default());
    for order_id in ["b", "a"] {
        service.hear(delivered(order_id)).await.unwrap();
    }
    service.issue(1).await.unwrap();
    let request = Request::get("/coupons").body(Body::empty()).unwrap();
    let response = http::router(service).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let listed: Value = serde_json::from_slice(&bytes).unwrap();
    let expected = json!([
        {"couponId": "coupon-b", "orderId": "b", "percent": 25},
        {"couponId": "coupon-a", "orderId": "a", "percent": 25},
    ]);
    assert_eq!(listed, expected);
}
