//! Ending a running container: its hook, SIGTERM, and SIGKILL when its time is over.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::hook::Hook;
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
        let steps = async move {
            let begun = Instant::now();
            if let Some(hook) = hook {
                tokio::select! {
                    outcome = hook.run(grace) => if let Err(reason) = outcome { hook_failed(reason) },
                    () = reached(shortened.clone()) => {}
                }
            }
            control.terminate();
            // Kubernetes subtracts whole seconds only.
            let spent = Duration::from_secs(begun.elapsed().as_secs());
            let kill_at = Instant::now() + grace.saturating_sub(spent).max(SHORTEST_GRACE);
            wait_to_kill(kill_at, shortened).await;
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
