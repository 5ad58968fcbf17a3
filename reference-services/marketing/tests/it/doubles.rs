//! Stand-ins for what marketing needs from the outside world.

use std::collections::HashSet;
use std::sync::Mutex;

use async_trait::async_trait;
use marketing::domain::{Coupon, Delivered, OrderId, Percent};
use marketing::ports::{Heard, Ledger, StorageError};
use service_kit::events::EventId;

/// The ledger in memory.
#[derive(Default)]
pub(crate) struct InMemoryLedger(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    heard: Vec<Delivered>,
    coupons: Vec<Coupon>,
    published: usize,
}

impl Pages {
    fn has_coupon(&self, order_id: &OrderId) -> bool {
        let mut coupons = self.coupons.iter();
        coupons.any(|coupon| coupon.delivered.order_id == *order_id)
    }
}

#[async_trait]
impl Ledger for InMemoryLedger {
    async fn hear(&self, delivered: Delivered) -> Result<Heard, StorageError> {
        let mut pages = self.0.lock().unwrap();
        let mut heard = pages.heard.iter();
        let is_known = heard.any(|known| known.order_id == delivered.order_id)
            || pages.has_coupon(&delivered.order_id);
        if is_known {
            return Ok(Heard::Repeated);
        }
        pages.heard.push(delivered);
        Ok(Heard::New)
    }

    async fn owed(&self, limit: usize) -> Result<Vec<Delivered>, StorageError> {
        let pages = self.0.lock().unwrap();
        let owed = pages.heard.iter();
        let owed = owed.filter(|delivered| !pages.has_coupon(&delivered.order_id));
        Ok(owed.take(limit).cloned().collect())
    }

    async fn issue(&self, coupons: Vec<Coupon>) -> Result<usize, StorageError> {
        let mut pages = self.0.lock().unwrap();
        let before = pages.coupons.len();
        for coupon in coupons {
            if !pages.has_coupon(&coupon.delivered.order_id) {
                pages.coupons.push(coupon);
            }
        }
        Ok(pages.coupons.len() - before)
    }

    async fn unpublished(&self, limit: usize) -> Result<Vec<Coupon>, StorageError> {
        let pages = self.0.lock().unwrap();
        let coupons = pages.coupons.iter().skip(pages.published);
        Ok(coupons.take(limit).cloned().collect())
    }

    async fn published(&self, count: usize) -> Result<(), StorageError> {
        self.0.lock().unwrap().published += count;
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Coupon>, StorageError> {
        Ok(self.0.lock().unwrap().coupons.clone())
    }
}

pub(crate) fn delivered(order_id: &str) -> Delivered {
    Delivered {
        order_id: order_id.parse().unwrap(),
        event: EventId::new(7),
        correlation_id: order_id.to_owned(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    }
}

pub(crate) fn coupon(order_id: &str) -> Coupon {
    Coupon {
        percent: Percent::TEN,
        issued_at_ms: 99,
        delivered: delivered(order_id),
    }
}

/// The orders that have coupons.
pub(crate) async fn rewarded(ledger: &dyn Ledger) -> Vec<String> {
    let coupons = ledger.list().await.unwrap();
    let orders = coupons.iter().map(|it| it.delivered.order_id.to_string());
    let orders: Vec<_> = orders.collect();
    let different: HashSet<_> = orders.iter().collect();
    assert_eq!(different.len(), orders.len(), "two coupons for one order");
    orders
}
