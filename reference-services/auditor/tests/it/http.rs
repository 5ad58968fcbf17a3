//! `GET /invariants`, asked of auditor in front of services that say what a test has them say.

use std::collections::BTreeMap;

use auditor::adapters::services::Addresses;
use auditor::config::Config;
use axum::body::Body;
use axum::extract::Query;
use axum::http::{Request, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use service_kit::env::Env;
use tokio::net::TcpListener;
use tower::ServiceExt;

/// Serves `router` on a port of its own, and tells where.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// A service that shows `entries` at `path`.
pub(crate) async fn service(path: &str, entries: Value) -> String {
    let entries = get(|| async move { Json(entries) });
    serve(Router::new().route(path, entries)).await
}

async fn ask(addresses: Addresses) -> (StatusCode, Value) {
    let mut config = Config::from_env(Env::of_pairs([])).unwrap();
    config.addresses = addresses;
    let router = auditor::build(&config).unwrap().on_one_port();
    let request = Request::get("/invariants").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn app_and_pay(orders: Value, payments: Value) -> Addresses {
    Addresses {
        app: service("/orders", orders).await,
        pay: service("/payments", payments).await,
        store: None,
        customer: None,
        marketing: None,
    }
}

fn order(id: &str, status: &str) -> Value {
    json!({"id": id, "item": "pizza", "quantity": 1, "amount": 24_000, "status": status})
}

fn payment(order_id: &str, status: &str) -> Value {
    json!({"orderId": order_id, "amount": 24_000, "status": status})
}

#[tokio::test]
async fn orders_that_came_to_their_end_are_settled() {
    let orders = json!([order("a", "delivered"), order("b", "cancelled")]);
    let payments = json!([
        payment("a", "taken"),
        payment("b", "refunded"),
        payment("given-up", "barred"),
    ]);
    let addresses = Addresses {
        store: Some(
            service(
                "/deliveries",
                json!([{"orderId": "a", "status": "delivered"}, {"orderId": "b", "status": "cancelled"}]),
            )
            .await,
        ),
        marketing: Some(service("/coupons", json!([{"couponId": "c", "orderId": "a"}])).await),
        ..app_and_pay(orders, payments).await
    };
    let (status, report) = ask(addresses).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        report,
        json!({
            "holds": true,
            "settled": true,
            "entries": {"orders": 2, "payments": 2, "deliveries": 2, "coupons": 1},
            "violations": [],
            "due": [],
        })
    );
}

#[tokio::test]
async fn what_is_broken_and_what_is_due_is_told_by_order() {
    let orders = json!([order("a", "cooking"), order("b", "delivered")]);
    let payments = json!([payment("a", "taken"), payment("c", "taken")]);
    let (_, report) = ask(app_and_pay(orders, payments).await).await;
    assert_eq!(report["holds"], false);
    assert_eq!(report["settled"], false);
    let told = |findings: &Value| -> BTreeMap<String, Value> {
        let findings = findings.as_array().unwrap().iter();
        findings
            .map(|one| {
                let name = one["invariant"].as_str().unwrap().to_owned();
                (name, one["orderIds"].clone())
            })
            .collect()
    };
    let expected = BTreeMap::from([("paidOnce".to_owned(), json!(["b"]))]);
    assert_eq!(told(&report["violations"]), expected);
    let expected = BTreeMap::from([
        ("deliveredOnce".to_owned(), json!(["a"])),
        ("noPaymentWithoutOrder".to_owned(), json!(["c"])),
    ]);
    assert_eq!(told(&report["due"]), expected);
}

#[tokio::test]
async fn a_book_in_parts_is_read_to_its_end() {
    let notifications = get(|Query(part): Query<BTreeMap<String, String>>| async move {
        // Both parts tell the same.
        let entry = Json(json!([{"eventId": "e", "orderId": "a", "type": "OrderPaid"}]));
        match part.get("before") {
            None => (
                [(header::LINK, "</notifications?before=1>; rel=\"next\"")],
                entry,
            )
                .into_response(),
            Some(_) => entry.into_response(),
        }
    });
    let customer = serve(Router::new().route("/notifications", notifications)).await;
    let addresses = Addresses {
        customer: Some(customer),
        ..app_and_pay(json!([]), json!([])).await
    };
    let (_, report) = ask(addresses).await;
    assert_eq!(report["entries"]["notifications"], 2);
    assert_eq!(report["violations"][0]["invariant"], "notifiedOnce");
    assert_eq!(report["violations"][0]["orderIds"], json!(["a"]));
}

#[tokio::test]
async fn a_service_that_does_not_show_its_book_is_named() {
    for pay in [
        "http://127.0.0.1:1".to_owned(),
        service("/elsewhere", json!([])).await,
    ] {
        let addresses = Addresses {
            pay,
            ..app_and_pay(json!([]), json!([])).await
        };
        let (status, problem) = ask(addresses).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert_eq!(problem["detail"], "pay did not show its payments");
    }
}

#[test]
fn addresses_come_from_settings_or_from_kubernetes() {
    let addresses = |pairs: &[(&'static str, &'static str)]| {
        let env = Env::of_pairs(pairs.iter().copied());
        Config::from_env(env).unwrap().addresses
    };
    assert_eq!(addresses(&[]).app, "http://localhost:8081");
    assert_eq!(addresses(&[]).store, None);
    let kubernetes = [
        ("STORE_SERVICE_HOST", "10.0.0.7"),
        ("STORE_SERVICE_PORT", "8083"),
    ];
    assert_eq!(
        addresses(&kubernetes).store.unwrap(),
        "http://10.0.0.7:8083"
    );
    assert_eq!(
        addresses(&[("PAY_URL", "http://pay:1")]).pay,
        "http://pay:1"
    );
}
