//! The use cases of store: take a paid order in, bring it to the customer step by step, and cancel
//! it as long as nobody cooks.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use service_kit::events::EventId;
use tokio::sync::Notify;

use crate::domain::{Change, Delivery, Meal, OrderId, Pace, Trail};
use crate::measurements::Measurements;
use crate::ports::{Deliveries, Outcome, StorageError};

/// How many steps are made in one transaction at most.
const STEPS_AT_ONCE: u32 = 200;

/// When to look for due steps again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There may be more already.
    Now,
    /// Milliseconds since the Unix epoch.
    At(i64),
    /// When a delivery comes in.
    Unknown,
}

/// Takes in, advances, cancels and shows deliveries.
#[derive(Clone)]
pub struct StoreService {
    deliveries: Arc<dyn Deliveries>,
    pace: Pace,
    arrived: Arc<Notify>,
    measurements: Measurements,
}

impl std::fmt::Debug for StoreService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreService")
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl StoreService {
    pub fn new(deliveries: Arc<dyn Deliveries>, pace: Pace, registry: &mut Registry) -> Self {
        Self {
            deliveries,
            pace,
            arrived: Arc::default(),
            measurements: Measurements::register(registry),
        }
    }

    /// Takes an order in that was paid, as the event at the end of `trail` tells.
    pub async fn receive(
        &self,
        order_id: OrderId,
        meal: Meal,
        trail: Trail,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let cause = trail.event;
        let change = Delivery::receive(order_id, meal, trail, now_ms, self.pace);
        match self.deliveries.answer(cause, &change).await? {
            Outcome::Done => {
                self.measurements.made(&change, now_ms);
                tracing::debug!(order = %change.after.order_id, "received");
                self.arrived.notify_one();
            }
            Outcome::Repeated => tracing::debug!("received before"),
            Outcome::Overtaken => {
                tracing::warn!(order = %change.after.order_id, "paid for twice, delivered once");
            }
        }
        Ok(())
    }

    /// Answers the request to cancel a delivery that the event at the end of `trail` is.
    pub async fn cancel(
        &self,
        order_id: &OrderId,
        trail: Trail,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        // A step that is made meanwhile may change the answer.
        loop {
            let Some(delivery) = self.deliveries.find(order_id).await? else {
                // Its payment would have come first, on the same topic with the same key.
                tracing::warn!(order = %order_id, "there is nothing to cancel");
                return Ok(());
            };
            let Some(change) = delivery.cancel(trail.clone(), EventId::random(), now_ms) else {
                tracing::debug!(order = %order_id, "cancelled before");
                return Ok(());
            };
            match self.deliveries.answer(trail.event, &change).await? {
                Outcome::Done => {
                    self.measurements.made(&change, now_ms);
                    tell(&change);
                    return Ok(());
                }
                Outcome::Repeated => return Ok(()),
                Outcome::Overtaken => {}
            }
        }
    }

    /// Makes the steps that are due by `now_ms`, and tells when to look again.
    pub async fn advance(&self, now_ms: i64) -> Result<Next, StorageError> {
        let due = self.deliveries.due(now_ms, STEPS_AT_ONCE).await?;
        if due.is_empty() {
            let next = self.deliveries.next_due().await?;
            return Ok(next.map_or(Next::Unknown, Next::At));
        }
        let changes: Vec<Change> = due
            .iter()
            .filter_map(|delivery| delivery.advance(EventId::random(), now_ms, self.pace))
            .collect();
        let made = self.deliveries.advance(&changes).await?;
        for ((change, delivery), _) in changes.iter().zip(&due).zip(made).filter(|(_, made)| *made)
        {
            self.measurements
                .made(change, delivery.due_at_ms.unwrap_or(now_ms));
            tell(change);
        }
        Ok(Next::Now)
    }

    /// Completes when a delivery has come in since the last time.
    pub async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// The delivery of an order.
    pub async fn find(&self, order_id: &OrderId) -> Result<Option<Delivery>, StorageError> {
        self.deliveries.find(order_id).await
    }

    /// All deliveries, in the order in which they came in.
    pub async fn list(&self) -> Result<Vec<Delivery>, StorageError> {
        self.deliveries.list().await
    }
}

fn tell(change: &Change) {
    if let Some(told) = &change.announcement {
        tracing::debug!(
            event_id = %told.id,
            correlation_id = told.cause.correlation_id,
            causation_id = %told.cause.event,
            order = %change.after.order_id,
            "{:?}",
            told.news
        );
    }
}
