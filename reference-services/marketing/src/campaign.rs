//! What marketing does by itself until it is told to stop: it issues coupons on its own schedule, and
//! tells others of them.

use std::error::Error;
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

/// How long after the word to stop what is under way may still be published, so that it need not be
/// published again.
const LAST_ROUND: Duration = Duration::from_secs(1);

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
            Err(error) => {
                let error = &error as &(dyn Error + 'static);
                tracing::warn!(error, "no coupon was issued");
            }
        }
    }
}

/// Publishes what is issued, in order and at least once, until `stop`. The topic is made as soon as the
/// bus is there, so that whoever listens to it need not wait for a coupon.
pub async fn publish(service: MarketingService, bus: Arc<dyn EventBus>, stop: CancellationToken) {
    let making = stop.run_until_cancelled(bus.make_topics(&[events::COUPONS]));
    tokio::join!(making, publish_all(&service, &*bus, &stop));
}

async fn publish_all(service: &MarketingService, bus: &dyn EventBus, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let pause = match publish_next(service, bus, stop).await {
            Ok(0) => None,
            Ok(_) => continue,
            Err(error) => {
                let error = &error as &(dyn Error + 'static);
                tracing::warn!(error, "no coupon was published");
                Some(PAUSE)
            }
        };
        let time_to_go_on = async {
            match pause {
                None => service.issued().await,
                Some(pause) => tokio::time::sleep(pause).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = time_to_go_on => {}
        }
    }
}

async fn publish_next(
    service: &MarketingService,
    bus: &dyn EventBus,
    stop: &CancellationToken,
) -> Result<usize, PublishError> {
    let coupons = service.ledger.unpublished(COUPONS_AT_ONCE).await?;
    let count = coupons.len();
    if count == 0 {
        return Ok(0);
    }
    let events: Vec<_> = coupons.iter().map(events::event).collect();
    let last_round = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_ROUND).await;
    };
    tokio::select! {
        biased;
        published = bus.publish(&events) => published?,
        () = last_round => return Ok(0),
    }
    service.ledger.published(count).await?;
    service
        .published
        .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    Ok(count)
}
