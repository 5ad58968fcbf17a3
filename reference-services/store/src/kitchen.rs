//! The clock of the store: makes the steps that are due, until it is told to stop. Nothing is kept
//! here; who starts again finds in the database what is due.

use std::time::Duration;

use service_kit::clock::now_ms;
use tokio_util::sync::CancellationToken;

use crate::service::{Next, StoreService};

/// Steps that become due within this time are made together.
const BREATH: Duration = Duration::from_millis(10);

/// Makes due steps until `stop`. Looks for them every `poll` at the latest: another process may have
/// taken deliveries in and died.
pub async fn run(service: StoreService, poll: Duration, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let wait = match service.advance(now_ms()).await {
            Ok(Next::Now) => BREATH,
            Ok(Next::At(due)) => until(due).clamp(BREATH, poll.max(BREATH)),
            Ok(Next::Unknown) => poll,
            Err(error) => {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(error, "no delivery can be advanced");
                poll
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            () = service.arrival() => tokio::time::sleep(BREATH).await,
        }
    }
}

fn until(due_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(due_ms - now_ms()).unwrap_or(0))
}
