//! A thread with a runtime of its own: what runs there competes with nothing else of this process
//! for its turn.

use std::any::Any;
use std::future::Future;
use std::io;
use std::thread::Builder;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Why work on its own thread gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThreadError {
    /// There is no thread or runtime to be had.
    #[error("no thread could be started for the load")]
    Start(#[source] io::Error),
    /// It panicked.
    #[error("the load panicked: {0}")]
    Panicked(String),
}

/// Carries `work` out on a thread named `name`, which lets one task run at a time. When this is
/// dropped before its end, the work is ended at its next pause.
pub(crate) async fn run<Done, Work>(
    name: &str,
    work: impl FnOnce() -> Work + Send + 'static,
) -> Result<Done, ThreadError>
where
    Done: Send + 'static,
    Work: Future<Output = Done>,
{
    let abandoned = CancellationToken::new();
    let _abandon = abandoned.clone().drop_guard();
    let (tell, told) = oneshot::channel();
    let live = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ThreadError::Start)?;
        let done = runtime.block_on(abandoned.run_until_cancelled(work()));
        // A resolver that hangs must not hold up the end.
        runtime.shutdown_background();
        if let Some(done) = done {
            // Nobody listens any more when the work was abandoned in its last moment.
            drop(tell.send(done));
        }
        Ok(())
    };
    let thread = Builder::new().name(name.to_owned()).spawn(live);
    let thread = thread.map_err(ThreadError::Start)?;
    if let Ok(done) = told.await {
        return Ok(done);
    }
    // Without a result the thread is at its end.
    match thread.join() {
        Ok(Ok(())) => Err(ThreadError::Panicked(
            "it ended without a result".to_owned(),
        )),
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(ThreadError::Panicked(words(panic.as_ref()))),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_on_the_named_thread() {
        let name = async { std::thread::current().name().map(str::to_owned) };
        let name = run("elsewhere", || name).await.unwrap();
        assert_eq!(name.as_deref(), Some("elsewhere"));
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let panics = async { panic!("no luck") };
        let error = run::<(), _>("unlucky", || panics).await.unwrap_err();
        assert_eq!(error.to_string(), "the load panicked: no luck");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_ends() {
        let (began, beginning) = oneshot::channel();
        let (held, dropped) = oneshot::channel::<()>();
        let endless = async move {
            began.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(held);
        };
        let waiting = tokio::spawn(run("endless", || endless));
        beginning.await.unwrap();
        waiting.abort();
        // The work was dropped, and with it what it held.
        dropped.await.unwrap_err();
    }
}
