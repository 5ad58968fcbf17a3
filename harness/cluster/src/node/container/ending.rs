//! Ending a running container: its hook, SIGTERM, and SIGKILL when its time is over.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::hook::{Hook, NO_LIMIT};
use crate::node::process::Control;

/// What a container gets after its hook, however little time the hook has left.
const SHORTEST_GRACE: Duration = Duration::from_secs(2);

/// No clock counts further than this; the API accepts any number of seconds.
const LONGEST_GRACE: Duration = Duration::from_secs(u32::MAX as u64);

/// A container on its way out.
pub(super) struct Ending {
    latest: watch::Sender<Instant>,
    steps: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Ending {
    /// Prepares to end a container within `grace`. `hook_failed` is told why the hook failed.
    pub(super) fn new(
        control: Arc<Control>,
        grace: Duration,
        hook: Option<Hook>,
        hook_failed: impl FnOnce(String) + Send + 'static,
    ) -> Self {
        let grace = grace.min(LONGEST_GRACE);
        let (latest, shortened) = watch::channel(Instant::now() + grace);
        // Without any time there is no hook.
        let hook = hook.filter(|_| !grace.is_zero());
        let steps = async move {
            let begun = Instant::now();
            let hook_run = async {
                if let Some(hook) = hook
                    && let Err(reason) = hook.run(NO_LIMIT).await
                {
                    hook_failed(reason);
                }
            };
            tokio::pin!(hook_run);
            let hook_is_over = tokio::select! {
                () = &mut hook_run => true,
                () = reached(shortened.clone()) => false,
            };
            control.terminate();
            // Kubernetes subtracts whole seconds only.
            let spent = Duration::from_secs(begun.elapsed().as_secs());
            let kill_at = Instant::now() + grace.saturating_sub(spent).max(SHORTEST_GRACE);
            let killing = wait_to_kill(kill_at, shortened);
            // A hook that takes too long goes on until the end.
            tokio::pin!(killing);
            tokio::select! {
                () = &mut killing => {}
                () = &mut hook_run, if !hook_is_over => killing.await,
            }
            control.kill();
        };
        Self {
            latest,
            steps: Some(Box::pin(steps)),
        }
    }

    /// A later request can only shorten the time that is left.
    pub(super) fn shorten(&self, grace: Duration) {
        let wanted = Instant::now() + grace.min(LONGEST_GRACE);
        self.latest.send_if_modified(|latest| {
            let shorter = wanted < *latest;
            *latest = wanted.min(*latest);
            shorter
        });
    }

    /// Takes the steps. Returns when all that can be done has been done: the process's exit is
    /// awaited elsewhere. May be dropped and called again, also when it has returned.
    pub(super) async fn proceed(&mut self) {
        if let Some(steps) = &mut self.steps {
            steps.as_mut().await;
            self.steps = None;
        }
    }
}

/// Waits for a moment that may be moved forward.
async fn reached(mut latest: watch::Receiver<Instant>) {
    loop {
        let moment = *latest.borrow_and_update();
        tokio::select! {
            () = sleep_until(moment) => return,
            Ok(()) = latest.changed() => {}
        }
    }
}

async fn wait_to_kill(mut kill_at: Instant, mut shortened: watch::Receiver<Instant>) {
    shortened.mark_unchanged();
    loop {
        tokio::select! {
            () = sleep_until(kill_at) => return,
            Ok(()) = shortened.changed() => {
                let floor = Instant::now() + SHORTEST_GRACE;
                kill_at = kill_at.min((*shortened.borrow_and_update()).max(floor));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_moment_moved_forward_is_reached() {
        let (moment, latest) = watch::channel(Instant::now() + LONGEST_GRACE);
        let waiting = tokio::spawn(reached(latest));
        moment.send_replace(Instant::now());
        waiting.await.unwrap();
    }
}
