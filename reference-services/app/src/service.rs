//! The use cases of app. No order is accepted unless it is paid.

use std::sync::Arc;

use service_kit::chance::Chance;
use service_kit::detached;
use tokio_util::task::TaskTracker;

use crate::domain::{Item, Order, OrderId, Quantity};
use crate::ports::{Connection, Orders, PaymentError, Payments, StoreError};

/// What a customer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRequest {
    pub item: Item,
    pub quantity: Quantity,
    pub address: Option<String>,
}

/// Why an order was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error(transparent)]
    Payment(#[from] PaymentError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes and shows orders.
#[derive(Clone)]
pub struct OrderService {
    orders: Arc<dyn Orders>,
    payments: Arc<dyn Payments>,
    names: Arc<Chance>,
    work: TaskTracker,
}

impl std::fmt::Debug for OrderService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderService").finish_non_exhaustive()
    }
}

impl OrderService {
    /// A service that draws the names of orders from `names` and does its work on `work`.
    pub fn new(
        orders: Arc<dyn Orders>,
        payments: Arc<dyn Payments>,
        names: Chance,
        work: TaskTracker,
    ) -> Self {
        Self {
            orders,
            payments,
            names: Arc::new(names),
            work,
        }
    }

    /// Accepts an order once it is paid. An order that was begun is brought to its end even if the
    /// customer goes away: stopping between payment and commit would take money for nothing.
    pub async fn place(&self, request: OrderRequest) -> Result<Order, OrderError> {
        let order = Order {
            id: OrderId::new(self.names.identifier()),
            item: request.item,
            quantity: request.quantity,
            address: request.address,
        };
        let orders = Arc::clone(&self.orders);
        let payments = Arc::clone(&self.payments);
        detached::result(self.work.spawn(async move {
            accept(&*orders, &*payments, &order).await?;
            Ok(order)
        }))
        .await
    }

    /// The accepted order of this name.
    pub async fn find(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.orders.connect().await?.find(id).await
    }

    /// All accepted orders, oldest first.
    pub async fn list(&self) -> Result<Vec<Order>, StoreError> {
        self.orders.connect().await?.list().await
    }
}

/// The connection is held from the first step to the last, as by a transaction around them all: while
/// orders wait for their payment, they use connections up.
async fn accept(
    orders: &dyn Orders,
    payments: &dyn Payments,
    order: &Order,
) -> Result<(), OrderError> {
    let mut connection = orders.connect().await?;
    connection.insert(order.clone()).await?;
    match payments.pay(order).await {
        Ok(()) => commit(&mut *connection, order).await,
        Err(refused) => {
            connection.rollback().await?;
            Err(refused.into())
        }
    }
}

async fn commit(connection: &mut dyn Connection, order: &Order) -> Result<(), OrderError> {
    connection.commit().await.map_err(|error| {
        tracing::error!(order = %order.id, "paid, but not accepted: {error}");
        error.into()
    })
}
