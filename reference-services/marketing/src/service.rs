//! The use cases of marketing: remember who has earned a coupon, issue coupons, show them.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;

use crate::domain::{Coupon, Delivered, Percent};
use crate::ports::{Heard, Ledger, StorageError};

/// How many coupons are issued or published together at most.
pub(crate) const COUPONS_AT_ONCE: usize = 500;

/// Issues and shows coupons.
#[derive(Clone)]
pub struct MarketingService {
    pub(crate) ledger: Arc<dyn Ledger>,
    percent: Percent,
    issues: Arc<Notify>,
    deliveries: Counter,
    coupons: Counter,
    pub(crate) published: Counter,
}

impl std::fmt::Debug for MarketingService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MarketingService")
            .field("percent", &self.percent)
            .finish_non_exhaustive()
    }
}

impl MarketingService {
    pub fn new(ledger: Arc<dyn Ledger>, percent: Percent, registry: &mut Registry) -> Self {
        let new = Self {
            ledger,
            percent,
            issues: Arc::default(),
            deliveries: Counter::default(),
            coupons: Counter::default(),
            published: Counter::default(),
        };
        for (name, help, counter) in [
            (
                "marketing_deliveries_heard",
                "Orders that were heard to be delivered, each of which earns a coupon",
                &new.deliveries,
            ),
            (
                "marketing_coupons_issued",
                "Coupons that were issued",
                &new.coupons,
            ),
            (
                "marketing_coupons_published",
                "Coupons that others were told of, some of them perhaps twice",
                &new.published,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        new
    }

    /// Remembers that an order has earned a coupon.
    pub async fn hear(&self, delivered: Delivered) -> Result<(), StorageError> {
        match self.ledger.hear(delivered).await? {
            Heard::New => {
                self.deliveries.inc();
                tracing::debug!("a coupon is owed");
            }
            Heard::Repeated => tracing::debug!("heard before"),
        }
        Ok(())
    }

    /// Issues all coupons that are owed, and tells how many.
    pub async fn issue(&self, now_ms: i64) -> Result<usize, StorageError> {
        let mut issued = 0;
        loop {
            let owed = self.ledger.owed(COUPONS_AT_ONCE).await?;
            if owed.is_empty() {
                return Ok(issued);
            }
            let coupons: Vec<Coupon> = owed
                .into_iter()
                .map(|delivered| Coupon {
                    percent: self.percent,
                    issued_at_ms: now_ms,
                    delivered,
                })
                .collect();
            for coupon in &coupons {
                tell(coupon);
            }
            let count = self.ledger.issue(coupons).await?;
            self.coupons
                .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
            issued += count;
            self.issues.notify_one();
        }
    }

    /// Completes when coupons have been issued since the last time.
    pub async fn issued(&self) {
        self.issues.notified().await;
    }

    /// All coupons, in the order of their issue.
    pub async fn list(&self) -> Result<Vec<Coupon>, StorageError> {
        self.ledger.list().await
    }
}

fn tell(coupon: &Coupon) {
    tracing::debug!(
        event_id = %coupon.event_id(),
        correlation_id = coupon.delivered.correlation_id,
        causation_id = %coupon.delivered.event,
        order = %coupon.delivered.order_id,
        "issuing a coupon"
    );
}
