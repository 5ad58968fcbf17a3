//! What marketing does by itself until it is told to stop: it issues coupons on its own schedule, and
//! tells others of them.

use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::now_ms;
use service_kit::events::{BusError, EventBus};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::adapters::events;
use crate::ports::StorageError;
use crate::service::{COUPONS_AT_ONCE, MarketingService};

/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Issues what is owed every `interval`, until `stop`.
pub async fn issue(service: MarketingService, interval: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match service.issue(now_ms()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "issued coupons"),
            Err(error) => tracing::warn!(cause = %error.0, "no coupon was issued: {error}"),
        }
    }
}

/// Publishes what is issued, in order and at least once, until `stop`.
pub async fn publish(service: MarketingService, bus: Arc<dyn EventBus>, stop: CancellationToken) {
    loop {
        let wait = async {
            match publish_next(&service, &*bus).await {
                Ok(0) => service.issued().await,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(cause = ?error, "no coupon was published: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = wait => {}
        }
    }
}

async fn publish_next(
    service: &MarketingService,
    bus: &dyn EventBus,
) -> Result<usize, PublishError> {
    let coupons = service.ledger.unpublished(COUPONS_AT_ONCE).await?;
    if coupons.is_empty() {
        return Ok(0);
    }
    let events: Vec<_> = coupons.iter().map(events::event).collect();
    bus.publish(&events).await?;
    service.ledger.published(coupons.len()).await?;
    service
        .published
        .inc_by(u64::try_from(coupons.len()).unwrap_or(u64::MAX));
    Ok(coupons.len())
}
