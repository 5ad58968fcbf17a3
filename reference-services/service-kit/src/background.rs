//! What a service does beside answering requests, from its start until after its last answer.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long work may take to stop after it was told to.
const LIMIT: Duration = Duration::from_secs(3);

/// Work that goes on until it is told to stop. Cheap to clone; clones share the work.
#[derive(Clone, Debug, Default)]
pub struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    /// Starts `work` on a task of its own. It ends soon after the token it is given is cancelled.
    pub fn spawn<F>(&self, work: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(work(self.stop.child_token()));
    }

    /// Tells all work to stop and waits for it. To be called once no requests are in hand, so that
    /// what they caused is still seen to.
    pub async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(LIMIT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(limit = ?LIMIT, "work in the background did not stop in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn all_work_is_told_to_stop_and_waited_for() {
        let background = Background::default();
        let (stopped, hears) = oneshot::channel();
        background.spawn(|stop| async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            stopped.send(()).unwrap();
        });
        background.end().await;
        hears.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_stop_is_left_behind() {
        let background = Background::default();
        background.spawn(|_stop| std::future::pending());
        background.end().await;
    }
}
