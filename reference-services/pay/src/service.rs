//! The use cases of pay, and how long taking a payment takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use service_kit::chance::Chance;
use service_kit::metrics::{duration_histogram, observe};
use service_kit::{precise, processor};

use crate::domain::{Entry, OrderId, Payment, Status};
use crate::ports::{Cause, Payments, Recorded, StoreError};

/// How long taking a payment takes. It stands for the bank behind a real payment service.
#[derive(Clone, Debug)]
pub struct AnswerTime {
    /// A connection is held for this long at least …
    pub latency_base: Duration,
    /// … plus a uniform draw up to this.
    pub latency_jitter: Duration,
    /// Mean of a gamma draw of shape 2, spent without a connection, half before and half after.
    pub overhead: Duration,
    /// Processor time that is used meanwhile, for autoscalers to see.
    pub processor: Duration,
    /// The series of draws; `None` is another one on each start.
    pub seed: Option<u64>,
}

/// A payment that was asked for and is recorded now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub payment: Payment,
    /// False when an earlier request had taken it.
    pub is_new: bool,
    /// The latency drawn for this request; zero for one that was already paid.
    pub latency: Duration,
}

/// Why a payment was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    #[error("the order {} has been paid with other content", .0.as_str())]
    Conflict(OrderId),
    #[error("the order {} was given up and cannot be paid any more", .0.as_str())]
    GivenUp(OrderId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes and shows payments.
#[derive(Clone)]
pub struct PaymentService {
    payments: Arc<dyn Payments>,
    answer: AnswerTime,
    chance: Arc<Chance>,
    held: Histogram,
}

impl std::fmt::Debug for PaymentService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PaymentService")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

impl PaymentService {
    pub fn new(payments: Arc<dyn Payments>, answer: AnswerTime, registry: &mut Registry) -> Self {
        let chance = Arc::new(Chance::new(answer.seed));
        let held = duration_histogram();
        registry.register(
            "payment_connection_held_seconds",
            "Time for which taking a payment held a connection: connections divided by it is the capacity",
            held.clone(),
        );
        Self {
            payments,
            answer,
            chance,
            held,
        }
    }

    /// Takes `payment`, or returns the one its order was paid with before.
    pub async fn pay(&self, payment: Payment) -> Result<Taken, PayError> {
        let half_of_overhead = self.chance.gamma(self.answer.overhead, 2) / 2;
        precise::sleep(half_of_overhead).await;
        let taken = self.take(payment).await?;
        precise::sleep(half_of_overhead).await;
        Ok(taken)
    }

    async fn take(&self, payment: Payment) -> Result<Taken, PayError> {
        let mut connection = self.payments.connect().await?;
        let connected = Instant::now();
        if let Some(earlier) = connection.find(&payment.order_id).await? {
            return repeated(payment, &earlier, Duration::ZERO);
        }
        let latency = self.answer.latency_base + self.chance.uniform(self.answer.latency_jitter);
        processor::spend(self.answer.processor).await;
        precise::sleep_until(connected + latency).await;
        let recorded = connection.record(&payment).await?;
        drop(connection);
        observe(&self.held, connected.elapsed());
        match recorded {
            Recorded::New => Ok(Taken {
                payment,
                is_new: true,
                latency,
            }),
            Recorded::Existing(earlier) => repeated(payment, &earlier, latency),
        }
    }

    /// Gives back what was taken for an order that was given up, and takes no payment for it any more.
    pub async fn give_up(
        &self,
        order_id: &OrderId,
        amount: u32,
        cause: &Cause,
    ) -> Result<(), StoreError> {
        let mut connection = self.payments.connect_in_background().await?;
        let status = connection.give_up(order_id, amount, cause).await?;
        tracing::info!(
            correlation_id = order_id.as_str(),
            causation_id = %cause.id,
            ?status,
            "an order was given up"
        );
        Ok(())
    }

    /// The payment for an order, taken or refunded.
    pub async fn find(&self, order_id: &OrderId) -> Result<Option<Entry>, StoreError> {
        let entry = self.payments.connect().await?.find(order_id).await?;
        Ok(entry.filter(was_taken))
    }

    /// All payments, taken or refunded, oldest first.
    pub async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.payments.connect().await?.list().await?;
        entries.retain(was_taken);
        Ok(entries)
    }
}

fn was_taken(entry: &Entry) -> bool {
    match entry.status {
        Status::Taken | Status::Refunded => true,
        Status::Barred => false,
    }
}

fn repeated(asked: Payment, earlier: &Entry, latency: Duration) -> Result<Taken, PayError> {
    match earlier.status {
        Status::Refunded | Status::Barred => Err(PayError::GivenUp(asked.order_id)),
        Status::Taken if asked != earlier.payment => Err(PayError::Conflict(asked.order_id)),
        Status::Taken => Ok(Taken {
            payment: asked,
            is_new: false,
            latency,
        }),
    }
}
