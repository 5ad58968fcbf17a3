//! Driver calls that can neither hang nor panic the loop.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;

/// Runs a call of `driver` in a task of its own, so that neither a panic nor a hang in it can keep
/// the loop from undoing what was done. `Err` says what went wrong. The task ends with whoever waits
/// for it.
pub(crate) async fn guarded<T, E>(
    driver: &str,
    limit: Duration,
    call: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, String>
where
    T: Send + 'static,
    E: Display + Send + 'static,
{
    let mut task = JoinSet::new();
    task.spawn(call);
    match tokio::time::timeout(limit, task.join_next()).await {
        Ok(Some(Ok(Ok(value)))) => Ok(value),
        Ok(Some(Ok(Err(error)))) => Err(error.to_string()),
        Ok(Some(Err(_)) | None) => Err(format!("the {driver} panicked")),
        Err(_elapsed) => {
            // Until it has ended it might still act after its undo.
            task.shutdown().await;
            Err(format!("no answer within {} s", limit.as_secs_f64()))
        }
    }
}
