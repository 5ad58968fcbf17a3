//! How many calls may be under way at once, and who may wait for one of them to end.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Counted;

/// The size of a bulkhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadSettings {
    /// Calls under way at once.
    pub places: usize,
    /// Calls that may wait for a place, first come, first served.
    pub queue: usize,
    /// How long each of them may wait; `None` is as long as its caller does.
    pub queue_wait: Option<Duration>,
}

impl BulkheadSettings {
    /// A bulkhead that refuses at once when it is full.
    pub fn without_queue(places: usize) -> Self {
        Self {
            places,
            queue: 0,
            queue_wait: None,
        }
    }
}

/// A bulkhead, or the count of calls where there is no limit.
#[derive(Debug)]
pub(super) struct Bulkhead {
    limits: Option<Limits>,
    in_use: Gauge,
    waiting: Gauge,
}

#[derive(Debug)]
struct Limits {
    places: Arc<Semaphore>,
    queue: Semaphore,
    queue_wait: Option<Duration>,
}

impl Bulkhead {
    /// `in_use` and `waiting` follow the calls under way and in the queue.
    pub(super) fn new(settings: Option<BulkheadSettings>, in_use: Gauge, waiting: Gauge) -> Self {
        Self {
            limits: settings.map(|settings| Limits {
                places: Arc::new(Semaphore::new(settings.places)),
                queue: Semaphore::new(settings.queue),
                queue_wait: settings.queue_wait,
            }),
            in_use,
            waiting,
        }
    }

    /// A place, or `None` when there is none and none becomes free in time.
    pub(super) async fn enter(&self) -> Option<Place> {
        let permit = match &self.limits {
            Some(limits) => Some(limits.acquire(&self.waiting).await?),
            None => None,
        };
        Some(Place {
            _permit: permit,
            _in_use: Counted::by(&self.in_use),
        })
    }

    /// Whether a place is free now.
    pub(super) fn has_place(&self) -> bool {
        let limits = self.limits.as_ref();
        limits.is_none_or(|limits| limits.places.available_permits() > 0)
    }
}

impl Limits {
    async fn acquire(&self, waiting: &Gauge) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let _turn = self.queue.try_acquire().ok()?;
        let _counted = Counted::by(waiting);
        let place = Arc::clone(&self.places).acquire_owned();
        let place = match self.queue_wait {
            Some(limit) => tokio::time::timeout(limit, place).await.ok()?,
            None => place.await,
        };
        Some(place.expect("the semaphore is never closed"))
    }
}

/// A place in the bulkhead, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    _in_use: Counted,
}
