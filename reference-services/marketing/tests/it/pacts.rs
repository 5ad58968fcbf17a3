//! The contracts of marketing: with store, whose events it reads, and with those who read its own, or
//! ask it for its coupons.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Response;
use http_body_util::BodyExt as _;
use marketing::adapters::events::{Deliveries, subscription};
use marketing::adapters::http;
use marketing::domain::Percent;
use marketing::ports::Ledger;
use marketing::service::MarketingService;
use prometheus_client::registry::Registry;
use service_kit::events::EventBus as _;
use service_kit::events::memory::MemoryBus;
use tower::ServiceExt as _;

use crate::doubles::{InMemoryLedger, delivered};
use crate::flow::{start, until_told};

fn marketing() -> (Arc<InMemoryLedger>, Deliveries) {
    let ledger = Arc::new(InMemoryLedger::default());
    let port = Arc::clone(&ledger) as Arc<dyn Ledger>;
    let service = MarketingService::new(port, Percent::TEN, &mut Registry::default());
    (ledger, Deliveries(service))
}

#[tokio::test]
async fn marketing_understands_all_that_it_may_be_told_and_needs_all_that_it_asks_for() {
    for contract in contracts::of_consumer("marketing") {
        let topics = subscription("a ledger").topics;
        assert!(topics.contains(&contract.events().topic));
        for terms in contract.events().terms() {
            for record in terms.examples() {
                let (ledger, handler) = marketing();
                let event = contracts::hear(&record, &handler).await.unwrap();
                let owed = ledger.owed(2).await.unwrap();
                assert_eq!(owed.len(), 1, "{record:?}");
                assert_eq!(owed[0].order_id.to_string(), event.key);
                assert_eq!(owed[0].event, event.id);
                assert_eq!(owed[0].correlation_id, event.correlation_id);
                assert_eq!(owed[0].traceparent, event.traceparent);
            }
            let (_, handler) = marketing();
            assert_eq!(terms.needless(&handler).await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn what_marketing_tells_is_what_others_need() {
    let of_store = contracts::between("marketing", "store");
    let delivered = of_store.events().event("OrderDelivered");
    let bus = Arc::new(MemoryBus::new());
    let folder = tempfile::tempdir().unwrap();
    let marketing = start(folder.path(), &bus);
    let delivered = delivered.to(&of_store.events().topic);
    bus.publish(&[delivered]).await.unwrap();
    until_told(&bus, 1).await;
    marketing.end().await;
    for events in contracts::events_of("marketing") {
        assert_eq!(events.check(&bus.records(&events.topic)), []);
    }
}

/// marketing, and things as the contract has them.
async fn marketing_where(given: &str) -> Router {
    let ledger = Arc::new(InMemoryLedger::default());
    let service = MarketingService::new(ledger, Percent::TEN, &mut Registry::default());
    match given {
        "an order was delivered" => {
            service.hear(delivered("a")).await.unwrap();
            service.issue(1).await.unwrap();
        }
        other => panic!("marketing does not know how to have it that {other}"),
    }
    http::router(service)
}

#[tokio::test]
async fn marketing_answers_what_others_need() {
    for exchange in contracts::exchanges_of("marketing") {
        for terms in exchange.answers {
            let request = exchange.request.example().map(Body::from);
            let marketing = marketing_where(&terms.given).await;
            let (parts, body) = marketing.oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let breaches = terms.check(&Response::from_parts(parts, body));
            assert_eq!(breaches, [], "{}", terms.given);
        }
    }
}
