//! The load as the loop sees it.

use std::sync::Arc;

use holdfast_core::plan::Plan;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::drivers::{Drivers, Events, LoadDriverError};

/// Begins the load in a task of its own: a panic in its driver ends nothing else.
pub(crate) fn spawn(
    plan: &Plan,
    drivers: &Drivers,
    events: &Events,
    stop: &CancellationToken,
) -> JoinHandle<Result<(), LoadDriverError>> {
    let (driver, plan) = (Arc::clone(&drivers.load), plan.load.clone());
    let (events, stop) = (events.clone(), stop.clone());
    tokio::spawn(async move { driver.run(&plan, events, stop).await })
}

/// Why the load did not come to its end; `None` where it did, or was ended.
pub(crate) fn failure(result: Result<Result<(), LoadDriverError>, JoinError>) -> Option<String> {
    match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) if error.is_cancelled() => None,
        Err(_panic) => Some("the load driver panicked".to_owned()),
    }
}
