//! Ending a running container: its hook, SIGTERM, and SIGKILL when its time is over.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::node::probe::check::{Check, Outcome};
use crate::node::process::{Control, Launch, Shim};

/// What a container gets after its hook, however little time the hook has left.
const SHORTEST_GRACE: Duration = Duration::from_secs(2);

/// What a hook does.
#[derive(Clone, Debug)]
pub(super) enum Hook {
    Sleep(Duration),
    Ask(Check),
}

impl Hook {
    /// The `preStop` hook of a container whose program is the process `program`.
    pub(super) fn pre_stop(
        spec: &Container,
        address: IpAddr,
        shim: &Shim,
        program: u32,
        launch: &Launch,
    ) -> Option<Self> {
        let handler: &LifecycleHandler = spec.lifecycle.as_ref()?.pre_stop.as_ref()?;
        if let Some(sleep) = &handler.sleep {
            let seconds = u64::try_from(sleep.seconds).unwrap_or_default();
            return Some(Self::Sleep(Duration::from_secs(seconds)));
        }
        let ports = spec.ports.as_deref().unwrap_or_default();
        let http = handler
            .http_get
            .as_ref()
            .map(|action| Check::http(action, address, ports));
        let exec = handler
            .exec
            .as_ref()
            .map(|action| Check::exec(action, shim, program, launch));
        http.or(exec).map(Self::Ask)
    }

    /// Runs the hook; the text says how it failed.
    async fn run(self, limit: Duration) -> Result<(), String> {
        match self {
            Self::Sleep(duration) => {
                sleep(duration).await;
                Ok(())
            }
            Self::Ask(check) => match check.ask(limit).await {
                Outcome::Passed | Outcome::PassedWithWarning(_) => Ok(()),
                Outcome::Failed(reason) | Outcome::Unanswerable(reason) => Err(reason),
            },
        }
    }
}

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
        let wanted = Instant::now() + grace;
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
