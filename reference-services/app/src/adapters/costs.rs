//! Gives the steps of an order the duration they have on another machine: each takes at least a
//! drawn time, its own work included, so a fast machine behaves like the one that is modelled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use service_kit::chance::Chance;
use service_kit::metrics::{duration_histogram, observe};
use service_kit::precise;

use crate::domain::{AcceptedOrder, Order, OrderId, Step};
use crate::ports::{
    Cause, Committed, Connection, Inserted, Intent, Orders, Overdue, Rollback, StoreError, Taken,
};

/// Mean durations of the steps; each is drawn anew from a gamma distribution of shape 4.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Before a request asks for a connection.
    pub receive: Duration,
    pub insert: Duration,
    pub commit: Duration,
    pub rollback: Duration,
}

const SHAPE: u32 = 4;

/// A store whose steps take their time.
#[derive(Debug)]
pub struct PacedOrders<O> {
    orders: O,
    pace: Pace,
}

#[derive(Clone, Debug)]
struct Pace {
    costs: Costs,
    chance: Arc<Chance>,
    durations: Durations,
}

#[derive(Clone, Debug)]
struct Durations {
    receive: Histogram,
    insert: Histogram,
    commit: Histogram,
    rollback: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

impl<O> PacedOrders<O> {
    /// Paces `orders`, drawing from the series that `seed` stands for.
    pub fn new(orders: O, costs: Costs, seed: Option<u64>, registry: &mut Registry) -> Self {
        let steps = Family::<StepLabel, Histogram, fn() -> Histogram>::new_with_constructor(
            duration_histogram,
        );
        registry.register(
            "order_step_duration_seconds",
            "Time spent in one step of an order",
            steps.clone(),
        );
        let of_step = |step| steps.get_or_create_owned(&StepLabel { step });
        Self {
            orders,
            pace: Pace {
                costs,
                chance: Arc::new(Chance::new(seed)),
                durations: Durations {
                    receive: of_step("receive"),
                    insert: of_step("insert"),
                    commit: of_step("commit"),
                    rollback: of_step("rollback"),
                },
            },
        }
    }
}

#[async_trait]
impl<O: Orders> Orders for PacedOrders<O> {
    async fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        let pace = &self.pace;
        pace.step(
            pace.costs.receive,
            &pace.durations.receive,
            std::future::ready(()),
        )
        .await;
        Ok(Box::new(PacedConnection {
            connection: self.orders.connect().await?,
            pace: self.pace.clone(),
        }))
    }

    async fn connect_in_background(&self) -> Result<Box<dyn Connection>, StoreError> {
        self.orders.connect_in_background().await
    }
}

struct PacedConnection {
    connection: Box<dyn Connection>,
    pace: Pace,
}

impl Pace {
    async fn step<T>(
        &self,
        mean: Duration,
        measured: &Histogram,
        work: impl Future<Output = T> + Send,
    ) -> T {
        let started = Instant::now();
        let floor = self.chance.gamma(mean, SHAPE);
        let result = work.await;
        precise::sleep_until(started + floor).await;
        observe(measured, started.elapsed());
        result
    }
}

#[async_trait]
impl Connection for PacedConnection {
    async fn insert(&mut self, intent: &Intent) -> Result<Inserted, StoreError> {
        let work = self.connection.insert(intent);
        let pace = &self.pace;
        pace.step(pace.costs.insert, &pace.durations.insert, work)
            .await
    }

    async fn commit(&mut self, order: &Order, cause: &Cause) -> Result<Committed, StoreError> {
        let work = self.connection.commit(order, cause);
        let pace = &self.pace;
        pace.step(pace.costs.commit, &pace.durations.commit, work)
            .await
    }

    async fn rollback(
        &mut self,
        order: &Order,
        reason: Rollback,
        cause: &Cause,
    ) -> Result<(), StoreError> {
        let work = self.connection.rollback(order, reason, cause);
        let pace = &self.pace;
        pace.step(pace.costs.rollback, &pace.durations.rollback, work)
            .await
    }

    async fn overdue(&mut self, noted_before_ms: i64) -> Result<Vec<Overdue>, StoreError> {
        self.connection.overdue(noted_before_ms).await
    }

    async fn take(
        &mut self,
        id: OrderId,
        step: Step,
        cause: &Cause,
    ) -> Result<Option<Taken>, StoreError> {
        self.connection.take(id, step, cause).await
    }

    async fn find(&mut self, id: OrderId) -> Result<Option<AcceptedOrder>, StoreError> {
        self.connection.find(id).await
    }

    async fn list(&mut self) -> Result<Vec<AcceptedOrder>, StoreError> {
        self.connection.list().await
    }
}
