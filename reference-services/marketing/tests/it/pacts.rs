//! The contracts of marketing: with store, whose events it reads, and with those who read its own.

use std::sync::Arc;

use marketing::adapters::events::{Deliveries, subscription};
use marketing::domain::Percent;
use marketing::ports::Ledger;
use marketing::service::MarketingService;
use prometheus_client::registry::Registry;
use service_kit::events::EventBus as _;
use service_kit::events::memory::MemoryBus;

use crate::doubles::InMemoryLedger;
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
    for contract in contracts::of_provider("marketing") {
        let told = bus.records(&contract.events().topic);
        assert_eq!(contract.events().check(&told), []);
    }
}
