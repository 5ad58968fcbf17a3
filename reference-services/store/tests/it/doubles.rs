//! A stand-in for the deliveries, and deliveries to fill it with.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use service_kit::events::{Addressed, EventId};
use store::adapters::events::event;
use store::domain::{Change, Delivery, Meal, OrderId, Pace, Trail};
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
    deliveries: Vec<Delivery>,
    handled: HashSet<EventId>,
    told: Vec<Addressed>,
}

impl Kept {
    fn make(&mut self, change: &Change) -> bool {
        let order_id = &change.after.order_id;
        let known = self.deliveries.iter_mut();
        let known = known.into_iter().find(|it| it.order_id == *order_id);
        match (known, change.before) {
            (None, None) => self.deliveries.push(change.after.clone()),
            (Some(known), Some(before)) if known.stage == before => *known = change.after.clone(),
            _ => return false,
        }
        let told = change.announcement.iter().map(|it| event(order_id, it));
        self.told.extend(told);
        true
    }
}

impl InMemoryDeliveries {
    /// The events that were announced, in order.
    pub(crate) fn told(&self) -> Vec<Addressed> {
        self.0.lock().unwrap().told.clone()
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
        let mut due = self.0.lock().unwrap().deliveries.clone();
        due.retain(|it| it.due_at_ms.is_some_and(|due| due <= now_ms));
        due.sort_by_key(|it| it.due_at_ms);
        due.truncate(usize::try_from(limit).unwrap());
        Ok(due)
    }

    async fn next_due(&self) -> Result<Option<i64>, StorageError> {
        let kept = self.0.lock().unwrap();
        Ok(kept.deliveries.iter().filter_map(|it| it.due_at_ms).min())
    }

    async fn find(&self, order_id: &OrderId) -> Result<Option<Delivery>, StorageError> {
        let kept = self.0.lock().unwrap();
        let mut deliveries = kept.deliveries.iter();
        Ok(deliveries.find(|it| it.order_id == *order_id).cloned())
    }

    async fn list(&self) -> Result<Vec<Delivery>, StorageError> {
        Ok(self.0.lock().unwrap().deliveries.clone())
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
