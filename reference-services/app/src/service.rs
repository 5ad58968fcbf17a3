//! The use cases of app. No order is accepted unless it is paid, and no payment is kept unless its
//! order is accepted.

use std::sync::Arc;
use std::time::Duration;

use service_kit::chance::Chance;
use service_kit::clock::now_ms;
use service_kit::detached;
use service_kit::trace::{Span, SpanKind};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::domain::{
    AcceptedOrder, Address, IdempotencyKey, Item, News, Order, OrderId, Quantity, Status, Step,
};
use crate::ports::{
    Cause, Committed, Connection, Inserted, Intent, Orders, Origin, Overdue, PaymentError,
    Payments, Rollback, StoreError, Taken,
};

/// What a customer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRequest {
    pub item: Item,
    pub quantity: Quantity,
    pub address: Option<Address>,
    pub key: Option<IdempotencyKey>,
}

/// An order that was asked for and is accepted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    New(AcceptedOrder),
    /// An earlier request with the same key and content had placed it.
    Again(AcceptedOrder),
}

/// Why an order was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error(transparent)]
    Payment(#[from] PaymentError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whatever was paid is given back.
    #[error("the order took too long and was given up")]
    Abandoned,
    #[error("this key was used for an order with other content")]
    KeyReused,
    #[error("an earlier request with this key is still under way")]
    KeyUnderWay,
}

/// Takes, shows, follows and cancels orders.
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
    /// customer goes away.
    pub async fn place(&self, request: OrderRequest, cause: Cause) -> Result<Placed, OrderError> {
        let order = Order {
            id: OrderId::new(self.names.identifier()),
            item: request.item,
            quantity: request.quantity,
            address: request.address,
        };
        let span = order_span(order.id, &cause);
        let service = self.clone();
        let placing = async move {
            let placed = service.accept(order, request.key, &cause).await;
            if let Err(OrderError::Store(error)) = &placed {
                log(error);
            }
            placed
        };
        detached::result(self.work.spawn(placing.instrument(span))).await
    }

    /// The connection is held from the first step to the last, as by a transaction around them all:
    /// while orders wait for their payment, they use connections up.
    async fn accept(
        &self,
        order: Order,
        key: Option<IdempotencyKey>,
        cause: &Cause,
    ) -> Result<Placed, OrderError> {
        let mut connection = self.orders.connect().await?;
        let intent = Intent {
            order,
            key,
            // Not before there is a connection: however long that takes, the limit is the payment's.
            begun_at_ms: now_ms(),
            traceparent: cause.traceparent.clone(),
        };
        if let Inserted::KeyUsed { order, status } = connection.insert(&intent).await? {
            return repeated(&intent.order, order, status);
        }
        let order = intent.order;
        match self.payments.pay(&order, cause).await {
            Ok(()) => commit(&mut *connection, order, cause).await,
            Err(refused) => {
                let reason = refused.rollback();
                if let Err(error) = connection.rollback(&order, reason, cause).await {
                    tracing::warn!(%error, "an order that was not paid waits to be abandoned");
                }
                Err(refused.into())
            }
        }
    }

    /// Asks for an accepted order not to be brought. The store decides; the status returned tells
    /// whether it still may.
    pub async fn cancel(&self, id: OrderId, cause: Cause) -> Result<Option<Status>, StoreError> {
        let cancelling = logged(async {
            let mut connection = self.orders.connect().await?;
            connection.take(id, Step::Cancel, &cause).await
        });
        let taken = cancelling.instrument(order_span(id, &cause)).await?;
        Ok(taken.map(|taken| taken.after))
    }

    /// Moves an order on as the store tells, once for each event.
    pub async fn follow(&self, id: OrderId, news: News, cause: Cause) -> Result<(), StoreError> {
        let mut connection = self.orders.connect_in_background().await?;
        match connection.take(id, Step::News(news), &cause).await? {
            Some(Taken { before, after }) => {
                tracing::debug!(correlation_id = %id, causation_id = %cause, ?before, ?after, "heard of an order");
            }
            None => {
                tracing::warn!(correlation_id = %id, causation_id = %cause, "heard of an unknown order")
            }
        }
        Ok(())
    }

    /// Abandons orders that were begun longer than `limit` ago and neither accepted nor given up:
    /// whoever began them has ended in between. Until `stop`.
    pub async fn abandon_overdue(&self, limit: Duration, stop: &CancellationToken) {
        let period = (limit / 2).clamp(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            if let Err(error) = self.abandon_older_than(limit).await {
                tracing::warn!(%error, "overdue orders are not abandoned yet");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
        }
    }

    async fn abandon_older_than(&self, limit: Duration) -> Result<(), StoreError> {
        let limit_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        let mut connection = self.orders.connect_in_background().await?;
        let overdue = connection.overdue(now_ms().saturating_sub(limit_ms));
        for Overdue { order, traceparent } in overdue.await? {
            // In the trace of the request that began the order.
            let traceparent = traceparent.as_deref();
            let span = Span::begin(SpanKind::Internal, "abandon order", traceparent);
            let cause = Cause {
                origin: Origin::Clock,
                traceparent: Some(span.traceparent()),
            };
            let abandoning = logged(async {
                let trace = span.context().trace_id();
                tracing::warn!(%trace, "abandons an order that was never finished");
                connection
                    .rollback(&order, Rollback::PerhapsPaid, &cause)
                    .await
            });
            abandoning.instrument(order_span(order.id, &cause)).await?;
        }
        Ok(())
    }

    /// The accepted order of this name.
    pub async fn find(&self, id: OrderId) -> Result<Option<AcceptedOrder>, StoreError> {
        logged(async { self.orders.connect().await?.find(id).await }).await
    }

    /// All accepted orders, oldest first.
    pub async fn list(&self) -> Result<Vec<AcceptedOrder>, StoreError> {
        logged(async { self.orders.connect().await?.list().await }).await
    }
}

/// Gives what is logged about an order its name, and what it is done because of.
pub(crate) fn order_span(id: OrderId, cause: &Cause) -> tracing::Span {
    tracing::info_span!("order", correlation_id = %id, causation_id = %cause)
}

/// What `work` results in; a failure is logged first, in the span of the work.
async fn logged<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    work.await.inspect_err(log)
}

/// What the database said is for the log, never for the customer.
fn log(error: &StoreError) {
    match error {
        StoreError::Exhausted => {}
        StoreError::Unreachable(cause) => tracing::warn!(%cause, "{error}"),
        StoreError::Broken(cause) => tracing::error!(%cause, "{error}"),
    }
}

async fn commit(
    connection: &mut dyn Connection,
    order: Order,
    cause: &Cause,
) -> Result<Placed, OrderError> {
    match connection.commit(&order, cause).await {
        Ok(Committed::Accepted) => Ok(Placed::New(AcceptedOrder {
            order,
            status: Status::Paid,
        })),
        Ok(Committed::Abandoned) => Err(OrderError::Abandoned),
        Err(error) => {
            tracing::error!(%error, "paid, and perhaps not accepted; then it will be abandoned");
            Err(error.into())
        }
    }
}

fn repeated(asked: &Order, earlier: Order, status: Option<Status>) -> Result<Placed, OrderError> {
    let asked_again = Order {
        id: earlier.id,
        ..asked.clone()
    };
    match status {
        _ if asked_again != earlier => Err(OrderError::KeyReused),
        None => Err(OrderError::KeyUnderWay),
        Some(status) => Ok(Placed::Again(AcceptedOrder {
            order: earlier,
            status,
        })),
    }
}
