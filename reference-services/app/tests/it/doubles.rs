//! Stand-ins for what app needs from the outside world.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use app::domain::{AcceptedOrder, Fact, Order, OrderId, Status, Step};
use app::ports::{
    Cause, Committed, Connection, Inserted, Intent, Orders, Origin, Overdue, PaymentError,
    Payments, Rollback, StoreError, Taken,
};
use async_trait::async_trait;
use service_kit::events::EventId;

/// The store of orders in memory.
#[derive(Clone, Default)]
pub(crate) struct InMemoryOrders(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rows: Vec<Row>,
    told: Vec<Told>,
    events: HashSet<EventId>,
}

struct Row {
    intent: Intent,
    /// `None` until it is accepted.
    status: Option<Status>,
}

/// What others were told, of which order, and because of what.
pub(crate) type Told = (Fact, OrderId, String);

impl InMemoryOrders {
    pub(crate) fn told(&self) -> Vec<Told> {
        self.state().told.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn pending(&self, id: OrderId) -> Option<usize> {
        self.rows
            .iter()
            .position(|row| row.intent.order.id == id && row.status.is_none())
    }

    fn tell(&mut self, fact: Fact, id: OrderId, cause: &Cause) {
        self.told.push((fact, id, cause.to_string()));
    }
}

impl Row {
    fn accepted(&self) -> Option<AcceptedOrder> {
        Some(AcceptedOrder {
            order: self.intent.order.clone(),
            status: self.status?,
        })
    }
}

#[async_trait]
impl Orders for InMemoryOrders {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    async fn connect_in_background(&self) -> Result<Box<dyn Connection>, StoreError> {
        self.connect().await
    }
}

#[async_trait]
impl Connection for InMemoryOrders {
    async fn insert(&mut self, intent: &Intent) -> Result<Inserted, StoreError> {
        let mut state = self.state();
        let with_key = |row: &&Row| intent.key.is_some() && row.intent.key == intent.key;
        if let Some(row) = state.rows.iter().find(with_key) {
            return Ok(Inserted::KeyUsed {
                order: row.intent.order.clone(),
                status: row.status,
            });
        }
        state.rows.push(Row {
            intent: intent.clone(),
            status: None,
        });
        Ok(Inserted::New)
    }

    async fn commit(&mut self, order: &Order, cause: &Cause) -> Result<Committed, StoreError> {
        let mut state = self.state();
        let Some(index) = state.pending(order.id) else {
            return Ok(Committed::Abandoned);
        };
        state.rows[index].status = Some(Status::Paid);
        state.tell(Fact::Paid, order.id, cause);
        Ok(Committed::Accepted)
    }

    async fn rollback(
        &mut self,
        order: &Order,
        reason: Rollback,
        cause: &Cause,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        if let Some(index) = state.pending(order.id) {
            state.rows.remove(index);
            if reason == Rollback::PerhapsPaid {
                state.tell(Fact::Abandoned, order.id, cause);
            }
        }
        Ok(())
    }

    async fn overdue(&mut self, noted_before_ms: i64) -> Result<Vec<Overdue>, StoreError> {
        let state = self.state();
        let is_overdue =
            |row: &&Row| row.status.is_none() && row.intent.begun_at_ms < noted_before_ms;
        let overdue = state.rows.iter().filter(is_overdue);
        let overdue = overdue.map(|row| Overdue {
            order: row.intent.order.clone(),
            traceparent: row.intent.traceparent.clone(),
        });
        Ok(overdue.collect())
    }

    async fn take(
        &mut self,
        id: OrderId,
        step: Step,
        cause: &Cause,
    ) -> Result<Option<Taken>, StoreError> {
        let mut state = self.state();
        let is_it = |row: &Row| row.intent.order.id == id && row.status.is_some();
        let Some(index) = state.rows.iter().position(is_it) else {
            return Ok(None);
        };
        let before = state.rows[index].status.unwrap();
        let is_known = match cause.origin {
            Origin::Event { id } => !state.events.insert(id),
            Origin::Request { .. } | Origin::Clock => false,
        };
        let (after, fact) = if is_known {
            (before, None)
        } else {
            before.after(step)
        };
        state.rows[index].status = Some(after);
        if let Some(fact) = fact {
            state.tell(fact, id, cause);
        }
        Ok(Some(Taken { before, after }))
    }

    async fn find(&mut self, id: OrderId) -> Result<Option<AcceptedOrder>, StoreError> {
        let accepted = self.list().await?;
        Ok(accepted.into_iter().find(|it| it.order.id == id))
    }

    async fn list(&mut self) -> Result<Vec<AcceptedOrder>, StoreError> {
        let state = self.state();
        Ok(state.rows.iter().filter_map(Row::accepted).collect())
    }
}

/// A pay service that always answers the same.
pub(crate) struct Always(pub(crate) Result<(), PaymentError>);

#[async_trait]
impl Payments for Always {
    async fn pay(&self, _order: &Order, _cause: &Cause) -> Result<(), PaymentError> {
        self.0
    }
}
