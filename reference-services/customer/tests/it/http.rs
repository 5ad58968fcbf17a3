//! customer over HTTP, without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use customer::adapters::http;
use customer::domain::Happening;
use customer::service::CustomerService;
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::doubles::{InMemoryViews, happened, paid};

pub(crate) async fn customer(
    events: impl IntoIterator<Item = customer::domain::Happened>,
) -> Router {
    let views = Arc::new(InMemoryViews::default());
    let service = CustomerService::new(views, &mut Registry::default());
    for event in events {
        service.record(event).await.unwrap();
    }
    http::router(service)
}

async fn get(customer: &Router, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    customer.clone().oneshot(request).await.unwrap()
}

async fn json_of(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

fn next(response: &Response<Body>) -> Option<&str> {
    let link = response.headers().get("link")?.to_str().unwrap();
    link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")
}

#[tokio::test]
async fn an_order_is_shown_with_its_history() {
    let customer = customer([
        happened("7", 1, 0, paid()),
        happened("7", 2, 1_500, Happening::OrderAccepted),
    ])
    .await;
    let expected = json!({
        "orderId": "7",
        "item": "통닭",
        "quantity": 2,
        "address": "서울시 \"강남구\"",
        "amount": 36_000,
        "status": "accepted",
        "placedAt": "1970-01-01T00:00:00Z",
        "history": [
            {
                "eventId": "00000000000000000000000000000001",
                "type": "OrderPaid",
                "causationId": "cause of 1",
                "occurredAt": "1970-01-01T00:00:00Z",
            },
            {
                "eventId": "00000000000000000000000000000002",
                "type": "OrderAccepted",
                "causationId": "cause of 2",
                "occurredAt": "1970-01-01T00:00:01.5Z",
            },
        ],
    });
    let shown = get(&customer, "/my-page/7").await;
    assert_eq!(shown.status(), StatusCode::OK);
    assert_eq!(json_of(shown).await, expected);
    let page = get(&customer, "/my-page").await;
    assert_eq!(next(&page), None);
    assert_eq!(json_of(page).await, json!([expected]));
}

#[tokio::test]
async fn notifications_say_which_event_they_tell_of() {
    let coupon = Happening::CouponIssued {
        coupon_id: "c".to_owned(),
        percent: 10,
    };
    let customer = customer([happened("7", 1, i64::MAX, coupon)]).await;
    let expected = json!([{
        "number": 1,
        "eventId": "00000000000000000000000000000001",
        "orderId": "7",
        "type": "CouponIssued",
        "occurredAt": "1970-01-01T00:00:00Z",
        "message": "A coupon for you: 10 % off your next order",
    }]);
    assert_eq!(
        json_of(get(&customer, "/notifications").await).await,
        expected
    );
}

#[tokio::test]
async fn following_the_links_shows_everything_once() {
    let events = (1..=5).map(|number| {
        let order_id = number.to_string();
        happened(&order_id, number, i64::try_from(number).unwrap(), paid())
    });
    let customer = customer(events).await;
    for (path, field) in [
        ("/my-page?limit=2", "placedAt"),
        ("/notifications?limit=2", "number"),
    ] {
        let mut seen = Vec::new();
        let mut path = Some(path.to_owned());
        while let Some(here) = path {
            let part = get(&customer, &here).await;
            assert_eq!(part.status(), StatusCode::OK);
            path = next(&part).map(str::to_owned);
            seen.extend(json_of(part).await.as_array().unwrap().clone());
        }
        let orders: Vec<_> = seen.iter().map(|it| it["orderId"].clone()).collect();
        assert_eq!(orders, ["5", "4", "3", "2", "1"]);
        assert!(seen.iter().all(|it| !it[field].is_null()));
    }
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_so() {
    let customer = customer([]).await;
    for (path, status) in [
        ("/my-page/unknown", StatusCode::NOT_FOUND),
        ("/my-page/a%20b", StatusCode::NOT_FOUND),
        ("/my-page/%FF", StatusCode::BAD_REQUEST),
        ("/my-page?before=unknown", StatusCode::UNPROCESSABLE_ENTITY),
        ("/my-page?before=a%20b", StatusCode::UNPROCESSABLE_ENTITY),
        ("/my-page?limit=0", StatusCode::UNPROCESSABLE_ENTITY),
        ("/my-page?limit=1001", StatusCode::UNPROCESSABLE_ENTITY),
        ("/my-page?limit=-1", StatusCode::UNPROCESSABLE_ENTITY),
        ("/my-page?page=2", StatusCode::UNPROCESSABLE_ENTITY),
        ("/notifications?before=x", StatusCode::UNPROCESSABLE_ENTITY),
        (
            "/notifications?limit=many",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        let response = get(&customer, path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(json_of(response).await["status"], status.as_u16());
    }
}
