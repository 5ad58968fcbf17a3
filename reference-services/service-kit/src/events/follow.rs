//! Following events for as long as a process lives.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::delivery::Pauses;
use super::{EventBus, Handler, Subscription};

/// Has `handler` follow the subscribed events until `stop`, whatever fails in the meantime.
pub async fn follow(
    bus: Arc<dyn EventBus>,
    subscription: Subscription,
    handler: impl Handler,
    stop: CancellationToken,
) {
    let mut pauses = Pauses::default();
    while let Err(error) = bus.consume(&subscription, &handler, &stop).await {
        tracing::error!(
            group = subscription.group,
            error = &error as &(dyn std::error::Error + 'static),
            "no event is followed"
        );
        tokio::select! {
            () = stop.cancelled() => return,
            () = pauses.next() => {}
        }
    }
}
