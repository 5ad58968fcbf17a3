//! Driver calls that can neither hang nor panic the loop.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

/// Runs a call of `driver` in a task of its own, so that neither a panic nor a hang in it can keep
/// the loop from undoing what was done. `Err` says what went wrong.
pub(crate) async fn guarded<T, E>(
    driver: &str,
    limit: Duration,
    call: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, String>
where
    T: Send + 'static,
    E: Display + Send + 'static,
{
    let mut task = tokio::spawn(call);
    match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_panic)) => Err(format!("the {driver} panicked")),
        Err(_elapsed) => {
            task.abort();
            // Until it has ended it might still act after its undo.
            drop(task.await);
            Err(format!("no answer within {} s", limit.as_secs_f64()))
        }
    }
}
