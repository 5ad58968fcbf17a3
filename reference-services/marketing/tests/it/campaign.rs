//! From a delivery to the news of its coupon.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use marketing::adapters::events::Deliveries;
use marketing::campaign;
use marketing::domain::Percent;
use marketing::ports::Ledger;
use marketing::service::MarketingService;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use service_kit::events::{
    Addressed, BusError, Event, EventBus, HandleError, Handler, Subscription,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::doubles::{InMemoryLedger, coupon, rewarded};

/// Takes events, or fails as often as it was told to and then takes them.
#[derive(Default)]
struct ScriptedBus {
    failures: Mutex<u32>,
    made: Mutex<Vec<String>>,
    taken: Mutex<Vec<Addressed>>,
    took: Notify,
}

#[async_trait]
impl EventBus for ScriptedBus {
    async fn make_topics(&self, topics: &[&str]) {
        let topics = topics.iter().map(|&topic| topic.to_owned());
        self.made.lock().unwrap().extend(topics);
    }

    async fn publish(&self, events: &[Addressed]) -> Result<(), BusError> {
        // Even a failed attempt may have got through.
        self.taken.lock().unwrap().extend(events.iter().cloned());
        self.took.notify_one();
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            let topic = events[0].topic.clone();
            let source = "as told".into();
            return Err(BusError::Publish { topic, source });
        }
        Ok(())
    }

    async fn consume(
        &self,
        _subscription: &Subscription,
        _handler: &dyn Handler,
        stop: &CancellationToken,
    ) -> Result<(), BusError> {
        stop.cancelled().await;
        Ok(())
    }
}

fn service(ledger: &Arc<InMemoryLedger>) -> (MarketingService, Registry) {
    let mut registry = Registry::default();
    let ledger = Arc::clone(ledger) as Arc<dyn Ledger>;
    let service = MarketingService::new(ledger, Percent::TEN, &mut registry);
    (service, registry)
}

fn order_delivered(order_id: &str) -> Event {
    let payload = json!({"orderId": order_id});
    Event::new("OrderDelivered", order_id, "cause", &payload)
}

#[tokio::test]
async fn each_delivered_order_gets_one_coupon() {
    let ledger = Arc::new(InMemoryLedger::default());
    let (service, registry) = service(&ledger);
    let handler = Deliveries(service.clone());
    for order_id in ["a", "b", "a"] {
        let event = order_delivered(order_id);
        handler.handle(&event).await.unwrap();
        handler.handle(&event).await.unwrap();
    }
    assert_eq!(service.issue(5).await.unwrap(), 2);
    assert_eq!(service.issue(6).await.unwrap(), 0);
    handler.handle(&order_delivered("a")).await.unwrap();
    assert_eq!(service.issue(7).await.unwrap(), 0);
    assert_eq!(rewarded(&*ledger).await, ["a", "b"]);

    let mut metrics = String::new();
    encode(&mut metrics, &registry).unwrap();
    for line in [
        "marketing_deliveries_heard_total 2\n",
        "marketing_coupons_issued_total 2\n",
        "marketing_coupons_published_total 0\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn only_deliveries_earn_coupons_and_what_cannot_be_read_is_poison() {
    let ledger = Arc::new(InMemoryLedger::default());
    let handler = Deliveries(service(&ledger).0);
    for kind in ["OrderAccepted", "DeliveryCancelled", "MenuPrinted"] {
        let event = Event::new(kind, "a", "cause", &json!({"orderId": "a"}));
        handler.handle(&event).await.unwrap();
    }
    let mut newer = order_delivered("a");
    newer.schema_version = 2;
    for poison in [newer, order_delivered("a b")] {
        let refused = handler.handle(&poison).await.unwrap_err();
        assert!(matches!(refused, HandleError::Poison(_)));
    }
    assert!(ledger.owed(1).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn coupons_are_issued_when_it_is_time_and_published_until_the_bus_took_them() {
    let ledger = Arc::new(InMemoryLedger::default());
    let (service, _) = service(&ledger);
    let handler = Deliveries(service.clone());
    let bus = Arc::new(ScriptedBus::default());
    *bus.failures.lock().unwrap() = 2;
    let stop = CancellationToken::new();
    let issuing = tokio::spawn(campaign::issue(
        service.clone(),
        Duration::from_secs(60),
        stop.clone(),
    ));
    let publisher = Arc::clone(&bus) as Arc<dyn EventBus>;
    let publishing = tokio::spawn(campaign::publish(service, publisher, stop.clone()));
    // The first round finds nothing, the second one comes a minute later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*bus.made.lock().unwrap(), ["coupons"]);
    handler.handle(&order_delivered("a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(58)).await;
    assert!(ledger.list().await.unwrap().is_empty());
    for _ in 0..3 {
        bus.took.notified().await;
    }
    while !ledger.unpublished(1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    issuing.await.unwrap();
    publishing.await.unwrap();

    let taken = bus.taken.lock().unwrap();
    assert_eq!(taken.len(), 3);
    assert!(
        taken
            .iter()
            .all(|again| again.event.id == taken[0].event.id)
    );
}

#[test]
fn the_event_tells_of_the_coupon_and_follows_from_the_delivery() {
    let coupon = coupon("a");
    let Addressed { topic, event } = marketing::adapters::events::event(&coupon);
    assert_eq!(topic, "coupons");
    assert_eq!(event.kind, "CouponIssued");
    assert_eq!(event.schema_version, 1);
    assert_eq!(event.id, coupon.event_id());
    assert_eq!(event.key, "a");
    assert_eq!(event.correlation_id, "a");
    assert_eq!(event.causation_id, coupon.delivered.event.to_string());
    assert_eq!(event.occurred_at_ms, coupon.issued_at_ms);
    let traceparent = event.traceparent.unwrap();
    assert!(traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    let payload: serde_json::Value = serde_json::from_str(&event.payload).unwrap();
    let expected = json!({"couponId": "coupon-a", "orderId": "a", "percent": 10});
    assert_eq!(payload, expected);
}
