//! Stand-ins for what app needs from the outside world.

use std::sync::{Arc, Mutex};

use app::domain::{Order, OrderId};
use app::ports::{Connection, Orders, PaymentError, Payments, StoreError};
use async_trait::async_trait;

/// The store of orders in memory.
#[derive(Clone, Default)]
pub(crate) struct InMemoryOrders {
    accepted: Arc<Mutex<Vec<Order>>>,
}

struct InMemoryConnection {
    store: InMemoryOrders,
    inserted: Option<Order>,
}

#[async_trait]
impl Orders for InMemoryOrders {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        Ok(Box::new(InMemoryConnection {
            store: self.clone(),
            inserted: None,
        }))
    }
}

#[async_trait]
impl Connection for InMemoryConnection {
    async fn insert(&mut self, order: Order) -> Result<(), StoreError> {
        self.inserted = Some(order);
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let mut accepted = self.store.accepted.lock().unwrap();
        accepted.extend(self.inserted.take());
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        self.inserted = None;
        Ok(())
    }

    async fn find(&mut self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let accepted = self.store.accepted.lock().unwrap();
        Ok(accepted.iter().find(|order| order.id == id).cloned())
    }

    async fn list(&mut self) -> Result<Vec<Order>, StoreError> {
        Ok(self.store.accepted.lock().unwrap().clone())
    }
}

/// A pay service that always answers the same.
pub(crate) struct Always(pub(crate) Result<(), PaymentError>);

#[async_trait]
impl Payments for Always {
    async fn pay(&self, _order: &Order) -> Result<(), PaymentError> {
        self.0
    }
}
