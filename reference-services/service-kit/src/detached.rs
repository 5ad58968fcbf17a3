//! Work on a task of its own, which goes on when nobody waits for it any more.

use tokio::task::JoinHandle;

/// The result of the task. A panic in it goes on in the caller.
pub async fn result<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(result) => result,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the end of the runtime cancels such a task, and that drops this future too.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
