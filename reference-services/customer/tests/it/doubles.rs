//! A stand-in for the view, and events to fill it with.

use std::sync::Mutex;

use async_trait::async_trait;
use customer::domain::{Happened, Happening, Order, OrderId, Purchase};
use customer::ports::{Notification, Recorded, StorageError, Views};
use service_kit::events::EventId;

/// The view in memory: everything that was heard, as it was heard.
#[derive(Default)]
pub(crate) struct InMemoryViews(Mutex<Vec<Happened>>);

impl InMemoryViews {
    fn orders(&self) -> Vec<Order> {
        let heard = self.0.lock().unwrap();
        let mut ids: Vec<&OrderId> = heard.iter().map(|event| &event.order_id).collect();
        ids.sort();
        ids.dedup();
        let mut orders: Vec<Order> = ids
            .into_iter()
            .filter_map(|id| {
                let of_order = heard.iter().filter(|event| event.order_id == *id);
                Order::of(&of_order.cloned().collect::<Vec<_>>())
            })
            .collect();
        orders.sort_by_key(|order| (order.placed_at_ms, order.id.clone()));
        orders.reverse();
        orders
    }
}

#[async_trait]
impl Views for InMemoryViews {
    async fn record(&self, event: Happened) -> Result<Recorded, StorageError> {
        let mut heard = self.0.lock().unwrap();
        if heard.iter().any(|known| known.id == event.id) {
            return Ok(Recorded::Repeated);
        }
        heard.push(event);
        Ok(Recorded::New)
    }

    async fn page(
        &self,
        before: Option<OrderId>,
        limit: usize,
    ) -> Result<Option<Vec<Order>>, StorageError> {
        let mut orders = self.orders();
        if let Some(before) = before {
            let Some(index) = orders.iter().position(|order| order.id == before) else {
                return Ok(None);
            };
            orders.drain(..=index);
        }
        orders.truncate(limit);
        Ok(Some(orders))
    }

    async fn find(&self, order_id: OrderId) -> Result<Option<Order>, StorageError> {
        Ok(self.orders().into_iter().find(|order| order.id == order_id))
    }

    async fn notifications(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Notification>, StorageError> {
        let heard = self.0.lock().unwrap();
        let numbered = (1..).zip(heard.iter().cloned());
        let mut notifications: Vec<_> = numbered
            .map(|(number, event)| Notification { number, event })
            .filter(|notification| before.is_none_or(|before| notification.number < before))
            .collect();
        notifications.reverse();
        notifications.truncate(limit);
        Ok(notifications)
    }
}

pub(crate) fn happened(order_id: &str, id: u128, at_ms: i64, what: Happening) -> Happened {
    Happened {
        id: EventId::new(id),
        order_id: order_id.parse().unwrap(),
        cause: format!("cause of {id}"),
        at_ms,
        what,
    }
}

pub(crate) fn paid() -> Happening {
    Happening::OrderPaid(Purchase {
        item: "통닭".to_owned(),
        quantity: 2,
        address: Some("서울시 \"강남구\"".to_owned()),
        amount: 36_000,
    })
}
