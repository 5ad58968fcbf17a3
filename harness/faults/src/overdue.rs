//! Standing by: whoever would undo the faults of a run that dies looks meanwhile whether they must
//! end, for a run that hangs ends nothing and does not die.

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::controller::{Controller, LOOK};
use crate::error::one_line;

/// Undoes the faults of a namespace whose run no longer renews its lease, or whose time is over, until
/// `stop`. Their objects stay, with the reason: the run may come back, and must find it. `say` is told
/// of each.
pub async fn undo_overdue(
    client: &Client,
    namespace: &str,
    stop: &CancellationToken,
    say: impl Fn(&str),
) {
    let looking = Controller::undoing(client.clone(), namespace, stop.clone());
    while let Some(overdue) = until(&looking, stop, |overdue| !overdue.is_empty()).await {
        for fault in &overdue {
            say(fault);
        }
        // Of leases it judges for itself, from its beginning: one that was late is not lost.
        let over = stop.child_token();
        let acting = looking.beside(over.clone());
        let watching = async {
            until(&looking, stop, <[_]>::is_empty).await;
            over.cancel();
        };
        tokio::join!(acting.run(), watching);
    }
}

/// Looks until what must end is as wanted, and returns it; nothing when it was stopped.
async fn until(
    looking: &Controller,
    stop: &CancellationToken,
    wanted: impl Fn(&[String]) -> bool,
) -> Option<Vec<String>> {
    stop.run_until_cancelled(async {
        loop {
            match looking.overdue().await {
                Ok(overdue) if wanted(&overdue) => return overdue,
                Ok(_) => {}
                Err(error) => tracing::debug!("{}", one_line(&error)),
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
}
