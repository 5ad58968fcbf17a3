//! The business of the store: what is paid is cooked and delivered, once; what is not cooking yet can
//! be cancelled.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use store::domain::Stage;
use store::ports::Deliveries;
use store::service::{Next, StoreService};

use crate::doubles::{InMemoryDeliveries, PACE, chicken, id, trail};

struct Store {
    deliveries: Arc<InMemoryDeliveries>,
    service: StoreService,
    registry: Registry,
}

fn store() -> Store {
    let deliveries = Arc::new(InMemoryDeliveries::default());
    let mut registry = Registry::default();
    let port = Arc::clone(&deliveries) as Arc<dyn Deliveries>;
    let service = StoreService::new(port, PACE, &mut registry);
    Store {
        deliveries,
        service,
        registry,
    }
}

impl Store {
    async fn receive(&self, order_id: &str, event: u128, now_ms: i64) {
        let taken = self
            .service
            .receive(id(order_id), chicken(), trail(event), now_ms);
        taken.await.unwrap();
    }

    async fn cancel(&self, order_id: &str, event: u128, now_ms: i64) {
        let order_id = id(order_id);
        let answered = self.service.cancel(&order_id, trail(event), now_ms);
        answered.await.unwrap();
    }

    /// The kinds of the events that were announced.
    fn told(&self) -> Vec<String> {
        let told = self.deliveries.told().into_iter();
        told.map(|it| it.event.kind).collect()
    }

    async fn stage(&self, order_id: &str) -> Stage {
        self.service
            .find(&id(order_id))
            .await
            .unwrap()
            .unwrap()
            .stage
    }
}

#[tokio::test]
async fn a_paid_order_is_delivered_step_by_step() {
    let store = store();
    assert_eq!(store.service.advance(0).await.unwrap(), Next::Unknown);
    store.receive("a", 1, 0).await;
    assert_eq!(store.service.advance(999).await.unwrap(), Next::At(1000));
    for (now_ms, stage) in [
        (1000, Stage::Accepted),
        (2000, Stage::Cooking),
        (3000, Stage::WithRider),
        (4000, Stage::Delivered),
    ] {
        assert_eq!(store.service.advance(now_ms).await.unwrap(), Next::Now);
        assert_eq!(store.stage("a").await, stage);
    }
    assert_eq!(
        store.service.advance(i64::MAX).await.unwrap(),
        Next::Unknown
    );
    let told = [
        "OrderAccepted",
        "CookingStarted",
        "RiderAssigned",
        "OrderDelivered",
    ];
    assert_eq!(store.told(), told);

    let mut metrics = String::new();
    encode(&mut metrics, &store.registry).unwrap();
    for stage in ["received", "accepted", "cooking", "withRider", "delivered"] {
        let line = format!("store_deliveries_entered_total{{stage=\"{stage}\"}} 1\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert!(
        metrics.contains("store_step_lateness_seconds_count 4\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_order_that_is_told_of_twice_is_delivered_once() {
    let store = store();
    store.receive("a", 1, 0).await;
    store.service.advance(1000).await.unwrap();
    // The same event again, and another one about the same order.
    store.receive("a", 1, 1500).await;
    store.receive("a", 2, 1500).await;
    assert_eq!(store.service.list().await.unwrap().len(), 1);
    assert_eq!(store.stage("a").await, Stage::Accepted);
}

#[tokio::test]
async fn cancelled_before_anybody_cooks_it_is_not_delivered() {
    let store = store();
    for (order_id, steps) in [("a", 0), ("b", 1)] {
        store.receive(order_id, 10 + steps, 0).await;
        for step in 1..=steps {
            let now_ms = i64::try_from(step).unwrap() * 1000;
            store.service.advance(now_ms).await.unwrap();
        }
        store.cancel(order_id, 20 + steps, 1000).await;
        assert_eq!(store.stage(order_id).await, Stage::Cancelled);
        // The same request again, and another one.
        store.cancel(order_id, 20 + steps, 1000).await;
        store.cancel(order_id, 30 + steps, 1000).await;
    }
    assert_eq!(
        store.service.advance(i64::MAX).await.unwrap(),
        Next::Unknown
    );
    let told = ["DeliveryCancelled", "OrderAccepted", "DeliveryCancelled"];
    assert_eq!(store.told(), told);
}

#[tokio::test]
async fn once_it_is_cooked_each_request_to_cancel_is_refused_once() {
    let store = store();
    store.receive("a", 1, 0).await;
    store.service.advance(1000).await.unwrap();
    store.service.advance(2000).await.unwrap();
    for event in [2, 2, 3] {
        store.cancel("a", event, 2500).await;
    }
    assert_eq!(store.service.advance(3000).await.unwrap(), Next::Now);
    let told = [
        "OrderAccepted",
        "CookingStarted",
        "CancellationRefused",
        "CancellationRefused",
        "RiderAssigned",
    ];
    assert_eq!(store.told(), told);
    let mut metrics = String::new();
    encode(&mut metrics, &store.registry).unwrap();
    assert!(
        metrics.contains("store_cancellations_refused_total 2\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_is_not_known_cannot_be_cancelled() {
    let store = store();
    store.cancel("a", 1, 0).await;
    assert!(store.told().is_empty());
    assert_eq!(store.service.find(&id("a")).await.unwrap(), None);
}

#[tokio::test]
async fn after_hours_of_sleep_a_delivery_still_takes_its_time() {
    let store = store();
    store.receive("a", 1, 0).await;
    let now_ms = 3_600_000;
    store.service.advance(now_ms).await.unwrap();
    let next = store.service.advance(now_ms).await.unwrap();
    assert_eq!(next, Next::At(now_ms + 1000));
}

#[tokio::test]
async fn two_processes_make_each_step_once() {
    let store = store();
    for number in 0..100 {
        store.receive(&number.to_string(), number, 0).await;
    }
    let port = Arc::clone(&store.deliveries) as Arc<dyn Deliveries>;
    let other = StoreService::new(port, PACE, &mut Registry::default());
    for now_ms in [1000, 2000, 3000, 4000] {
        let (one, two) = tokio::join!(store.service.advance(now_ms), other.advance(now_ms));
        one.unwrap();
        two.unwrap();
    }
    assert_eq!(store.told().len(), 400);
}
