//! The contracts of pay: with app, which calls it and whose events it reads, and with those who read
//! its own, or ask it for its payments.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Response;
use http_body_util::BodyExt as _;
use pay::adapters::events::{Orders, subscription};
use pay::adapters::sql::{SCHEMAS, SqlPayments};
use pay::config::Config;
use pay::domain::{OrderId, Payment, Status};
use pay::service::{PayError, PaymentService};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use service_kit::database::Database;
use service_kit::env::Env;
use service_kit::events::memory::MemoryBus;
use service_kit::events::wire::Record;
use tower::ServiceExt as _;

use crate::http::{build, post, refunds, tell};

async fn pay() -> (PaymentService, Orders) {
    let env = [("PAY_LATENCY_BASE", "0"), ("PAY_LATENCY_JITTER", "0")];
    let config = Config::from_env(Env::of_pairs(env)).unwrap();
    let database = Database::open(&config.database, &SCHEMAS).await.unwrap();
    let payments = Arc::new(SqlPayments::new(Arc::new(database)));
    let service = PaymentService::new(payments, config.answer, &mut Registry::default());
    (service.clone(), Orders(service))
}

/// The payment for the order that `record` is about.
fn payment(record: &Record) -> Payment {
    let payload: Value = serde_json::from_slice(&record.payload).unwrap();
    Payment {
        order_id: OrderId::parse(payload["orderId"].as_str().unwrap()).unwrap(),
        amount: Some(18_000),
    }
}

#[tokio::test]
async fn pay_understands_all_that_app_may_tell_and_needs_all_that_it_asks_for() {
    let contract = contracts::between("pay", "app");
    assert!(subscription().topics.contains(&contract.events().topic));
    for terms in contract.events().terms() {
        for record in terms.examples() {
            let payment = payment(&record);
            let (service, handler) = pay().await;
            service.pay(payment.clone()).await.unwrap();
            contracts::hear(&record, &handler).await.unwrap();
            let entry = service.find(&payment.order_id).await.unwrap().unwrap();
            assert_eq!(entry.status, Status::Refunded, "{record:?}");

            let (service, handler) = pay().await;
            contracts::hear(&record, &handler).await.unwrap();
            let declined = service.pay(payment).await;
            assert!(matches!(declined, Err(PayError::GivenUp(_))), "{record:?}");
        }
        let (_, handler) = pay().await;
        assert_eq!(terms.needless(&handler).await, [""; 0]);
    }
}

/// pay, and things as the contract has them, the order being that of app's requests.
async fn pay_where(given: &str) -> Router {
    let bus = Arc::new(MemoryBus::new());
    let pay = build(Some(Arc::clone(&bus)), []).await;
    let of_app = contracts::between("app", "pay").exchanges.remove(0);
    let body: Value = serde_json::from_str(of_app.request.example().body()).unwrap();
    match given {
        "nothing is known of the order" => {}
        "the order was paid with the same amount" | "an order was paid" => {
            post(&pay, &body).await;
        }
        "the payment of an order was given back" => {
            post(&pay, &body).await;
            let of_app = contracts::between("pay", "app");
            let cancelled = of_app.events().event("OrderCancelled");
            assert_eq!(body["orderId"], cancelled.key);
            tell(&bus, &[&cancelled]).await;
            refunds(&bus, 1).await;
        }
        "the order was paid with another amount" => {
            let other = json!({"orderId": body["orderId"], "amount": 1});
            post(&pay, &other).await;
        }
        "the order was abandoned" => {
            let of_app = contracts::between("pay", "app");
            let abandoned = of_app.events().event("OrderAbandoned");
            assert_eq!(body["orderId"], abandoned.key);
            tell(&bus, &[&abandoned]).await;
        }
        other => panic!("pay does not know how to have it that {other}"),
    }
    pay
}

async fn whole(response: Response<Body>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn pay_answers_what_others_need() {
    for exchange in contracts::exchanges_of("pay") {
        for terms in exchange.answers {
            let pay = pay_where(&terms.given).await;
            let request = exchange.request.example().map(Body::from);
            let answer = pay.oneshot(request).await.unwrap();
            let breaches = terms.check(&whole(answer).await);
            assert_eq!(breaches, [], "{}", terms.given);
        }
    }
}

#[tokio::test]
async fn what_pay_tells_is_what_others_need() {
    let bus = Arc::new(MemoryBus::new());
    let pay = build(Some(Arc::clone(&bus)), []).await;
    let of_app = contracts::between("pay", "app");
    let cancelled = of_app.events().event("OrderCancelled");
    let order = json!({"orderId": cancelled.key, "amount": 18_000});
    post(&pay, &order).await;
    tell(&bus, &[&cancelled]).await;
    refunds(&bus, 1).await;
    for events in contracts::events_of("pay") {
        assert_eq!(events.topic, "payments");
        assert_eq!(events.check(&bus.records("payments")), []);
    }
}
