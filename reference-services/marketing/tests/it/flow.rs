//! marketing as a whole, on a bus in memory: from deliveries to the news of coupons.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use marketing::config::Config;
use prometheus_client::registry::Registry;
use serde_json::json;
use service_kit::background::Background;
use service_kit::env::Env;
use service_kit::events::memory::MemoryBus;
use service_kit::events::{Event, EventBus, EventId};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn start(folder: &Path, bus: &Arc<MemoryBus>) -> Background {
    let settings = [
        ("DATA_DIR", folder.to_str().unwrap()),
        ("COUPON_INTERVAL", "5ms"),
    ];
    let config = Config::from_env(Env::of_pairs(settings)).unwrap();
    let bus = Arc::clone(bus) as Arc<dyn EventBus>;
    let built = marketing::build_on(Some(bus), &config, Registry::default());
    built.unwrap().1
}

async fn deliver(bus: &MemoryBus, orders: std::ops::Range<u32>) {
    for number in orders {
        let order_id = format!("order-{number}");
        let payload = json!({"orderId": order_id});
        let event = Event::new("OrderDelivered", order_id, "cause", &payload);
        bus.publish(&[event.to("deliveries")]).await.unwrap();
    }
}

/// Completes when so many coupons have been told of, some of them perhaps twice.
pub(crate) async fn until_told(bus: &MemoryBus, count: usize) {
    let told = bus.until_published("coupons", count, |_| true);
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.expect("not all was told");
}

fn ids(bus: &MemoryBus) -> BTreeSet<EventId> {
    bus.events("coupons").iter().map(|it| it.id).collect()
}

#[tokio::test]
async fn every_delivered_order_gets_its_coupon_across_restarts_and_outages() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(MemoryBus::new());
    deliver(&bus, 0..20).await;
    let first = start(folder.path(), &bus);
    until_told(&bus, 20).await;
    first.end().await;

    bus.go_down();
    let second = start(folder.path(), &bus);
    bus.come_back();
    deliver(&bus, 20..40).await;
    until_told(&bus, 40).await;
    second.end().await;
    assert_eq!(bus.events("coupons").len(), 40);
    assert_eq!(ids(&bus).len(), 40);
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(MemoryBus::new());
    let key = "order-0";
    let delivered = |payload| Event::new("OrderDelivered", key, "cause", &payload);
    let mut newer = delivered(json!({"orderId": key}));
    newer.schema_version = 2;
    let nameless = delivered(json!({"orderId": 7}));
    let misnamed = delivered(json!({"orderId": "or der"}));
    for poison in [newer, nameless, misnamed] {
        bus.publish(&[poison.to("deliveries")]).await.unwrap();
    }
    deliver(&bus, 0..1).await;
    let marketing = start(folder.path(), &bus);
    until_told(&bus, 1).await;
    marketing.end().await;
    assert_eq!(bus.records("deliveries.marketing.dead-letters").len(), 3);
    assert_eq!(bus.events("coupons")[0].key, key);
}

#[tokio::test]
async fn a_ledger_that_was_lost_gives_the_same_coupons_again_and_no_others() {
    let bus = Arc::new(MemoryBus::new());
    deliver(&bus, 0..20).await;
    let lost = tempfile::tempdir().unwrap();
    let first = start(lost.path(), &bus);
    until_told(&bus, 20).await;
    first.end().await;
    let known = ids(&bus);

    let empty = tempfile::tempdir().unwrap();
    let second = start(empty.path(), &bus);
    until_told(&bus, 40).await;
    second.end().await;
    assert_eq!(ids(&bus), known);
}
