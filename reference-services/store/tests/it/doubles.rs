//! A stand-in for the deliveries, and deliveries to fill it with.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use service_kit::events::EventId;
use store::domain::{Change, Delivery, Meal, News, OrderId, Pace, Trail};
use store::ports::{Deliveries, Outcome, StorageError};

/// Each stage takes a second.
pub(crate) const PACE: Pace = Pace {
    accept: Duration::from_secs(1),
    start: Duration::from_secs(1),
    cooking: Duration::from_secs(1),
    rider: Duration::from_secs(1),
};

/// The deliveries in memory.
#[derive(Default)]
pub(crate) struct InMemoryDeliveries(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    deliveries: BTreeMap<OrderId, Delivery>,
    handled: HashSet<EventId>,
    told: Vec<(EventId, News)>,
}

impl Kept {
    fn make(&mut self, change: &Change) -> bool {
        let order_id = &change.after.order_id;
        let stage = self.deliveries.get(order_id).map(|it| it.stage);
        if stage != change.before {
            return false;
        }
        self.deliveries
            .insert(order_id.clone(), change.after.clone());
        let told = change.announcement.iter();
        self.told.extend(told.map(|it| (it.id, it.news)));
        true
    }

    fn sorted_by<K: Ord>(&self, key: fn(&Delivery) -> K) -> Vec<Delivery> {
        let mut sorted: Vec<_> = self.deliveries.values().cloned().collect();
        sorted.sort_by_key(key);
        sorted
    }
}

impl InMemoryDeliveries {
    /// What was announced, in order.
    pub(crate) fn told(&self) -> Vec<News> {
        let kept = self.0.lock().unwrap();
        kept.told.iter().map(|(_, news)| *news).collect()
    }
}

#[async_trait]
impl Deliveries for InMemoryDeliveries {
    async fn answer(&self, cause: EventId, change: &Change) -> Result<Outcome, StorageError> {
        let mut kept = self.0.lock().unwrap();
        if kept.handled.contains(&cause) {
            return Ok(Outcome::Repeated);
        }
        if !kept.make(change) {
            return Ok(Outcome::Overtaken);
        }
        kept.handled.insert(cause);
        Ok(Outcome::Done)
    }

    async fn advance(&self, changes: &[Change]) -> Result<Vec<bool>, StorageError> {
        let mut kept = self.0.lock().unwrap();
        Ok(changes.iter().map(|change| kept.make(change)).collect())
    }

    async fn due(&self, now_ms: i64, limit: u32) -> Result<Vec<Delivery>, StorageError> {
        let kept = self.0.lock().unwrap();
        let mut due = kept.sorted_by(|it| (it.due_at_ms, it.order_id.clone()));
        due.retain(|it| it.due_at_ms.is_some_and(|due| due <= now_ms));
        due.truncate(usize::try_from(limit).unwrap());
        Ok(due)
    }

    async fn next_due(&self) -> Result<Option<i64>, StorageError> {
        let kept = self.0.lock().unwrap();
        Ok(kept.deliveries.values().filter_map(|it| it.due_at_ms).min())
    }

    async fn find(&self, order_id: &OrderId) -> Result<Option<Delivery>, StorageError> {
        Ok(self.0.lock().unwrap().deliveries.get(order_id).cloned())
    }

    async fn list(&self) -> Result<Vec<Delivery>, StorageError> {
        let kept = self.0.lock().unwrap();
        Ok(kept.sorted_by(|it| (it.received_at_ms, it.order_id.clone())))
    }
}

pub(crate) fn id(text: &str) -> OrderId {
    text.parse().unwrap()
}

pub(crate) fn trail(event: u128) -> Trail {
    Trail {
        event: EventId::new(event),
        correlation_id: "an order".to_owned(),
        traceparent: None,
    }
}

pub(crate) fn chicken() -> Meal {
    Meal {
        item: "통닭".to_owned(),
        quantity: 2,
        address: Some("서울시 \"강남구\"".to_owned()),
    }
}
