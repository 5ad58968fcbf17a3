//! store over HTTP, without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use store::adapters::http;
use store::domain::Meal;
use store::service::StoreService;
use tower::ServiceExt;

use crate::doubles::{InMemoryDeliveries, PACE, chicken, id, trail};

async fn store() -> Router {
    let deliveries = Arc::new(InMemoryDeliveries::default());
    let service = StoreService::new(deliveries, PACE, &mut Registry::default());
    let pizza = Meal {
        item: "pizza".to_owned(),
        quantity: 1,
        address: None,
    };
    for (number, (order_id, meal)) in (0..).zip([("b", chicken()), ("a", pizza)]) {
        let trail = trail(number);
        let now_ms = i64::try_from(number).unwrap();
        let taken = service.receive(id(order_id), meal, trail, now_ms);
        taken.await.unwrap();
    }
    service.advance(1000).await.unwrap();
    http::router(service)
}

async fn get(store: &Router, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    store.clone().oneshot(request).await.unwrap()
}

async fn json_of(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn deliveries_can_be_seen() {
    let store = store().await;
    let first = json!({
        "orderId": "b",
        "item": "통닭",
        "quantity": 2,
        "address": "서울시 \"강남구\"",
        "status": "accepted",
    });
    let second = json!({"orderId": "a", "item": "pizza", "quantity": 1, "status": "received"});
    assert_eq!(json_of(get(&store, "/deliveries/b").await).await, first);
    assert_eq!(json_of(get(&store, "/deliveries/a").await).await, second);
    let listed = json_of(get(&store, "/deliveries").await).await;
    assert_eq!(listed, json!([first, second]));
}

#[tokio::test]
async fn what_is_not_delivered_is_not_found_and_what_is_no_text_not_looked_for() {
    let store = store().await;
    for (path, status) in [
        ("/deliveries/unknown", StatusCode::NOT_FOUND),
        ("/deliveries/a%20b", StatusCode::NOT_FOUND),
        ("/deliveries/%FF", StatusCode::BAD_REQUEST),
    ] {
        let response = get(&store, path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
}
