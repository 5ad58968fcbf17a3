//! What a container asked to be done after its start and before its end.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerPort, LifecycleHandler};
use tokio::time::sleep;

use crate::node::probe::check::{Check, Outcome};
use crate::node::process::{Launch, Shim};

/// Kubernetes sets hooks no limit of its own.
pub(super) const NO_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The container a hook belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct HookPlace<'a> {
    pub(super) address: IpAddr,
    pub(super) ports: &'a [ContainerPort],
    pub(super) shim: &'a Shim,
    /// The process of the container's program.
    pub(super) program: u32,
    /// What that was started with.
    pub(super) launch: &'a Launch,
}

/// What a hook does.
#[derive(Clone, Debug)]
pub(super) enum Hook {
    Sleep(Duration),
    Ask(Check),
}

impl Hook {
    pub(super) fn new(handler: &LifecycleHandler, place: HookPlace<'_>) -> Option<Self> {
        if let Some(sleep) = &handler.sleep {
            let seconds = u64::try_from(sleep.seconds).unwrap_or_default();
            return Some(Self::Sleep(Duration::from_secs(seconds)));
        }
        let http = handler.http_get.as_ref();
        let exec = handler.exec.as_ref();
        http.map(|action| Check::http(action, place.address, place.ports))
            .or_else(|| {
                exec.map(|action| Check::exec(action, place.shim, place.program, place.launch))
            })
            .map(Self::Ask)
    }

    /// Runs the hook for at most `limit`; the text says how it failed.
    pub(super) async fn run(self, limit: Duration) -> Result<(), String> {
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
