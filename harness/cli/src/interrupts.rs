//! Ctrl-C and SIGTERM, as values that any part of a command can await.

use holdfast_core::event::StopCause;
use nix::sys::signal::{SigSet, Signal};
use tokio::sync::watch;

use crate::failure::Failure;

fn both() -> SigSet {
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM])
}

/// Keeps interruptions waiting until [`Interrupts::listen`]: one that comes while the process is
/// being set up must neither be lost nor end it half-way.
pub(crate) fn hold() -> Result<(), Failure> {
    both()
        .thread_block()
        .map_err(|error| Failure::carrying_out(format!("cannot hold signals: {error}")))
}

/// Lets interruptions through again, for a command that handles them itself. To be called on the
/// thread that called [`hold`].
pub(crate) fn release() -> Result<(), Failure> {
    both()
        .thread_unblock()
        .map_err(|error| Failure::carrying_out(format!("cannot take signals: {error}")))
}

/// The first interruption of this process, once there is one.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts(watch::Receiver<Option<StopCause>>);

impl Interrupts {
    /// Listens from now on. To be called on the thread that called [`hold`].
    pub(crate) fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let cannot = |error: std::io::Error| {
            Failure::carrying_out(format!("cannot listen for signals: {error}"))
        };
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        both()
            .thread_unblock()
            .map_err(|error| cannot(error.into()))?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                let cause = tokio::select! {
                    _ = interrupt.recv() => StopCause::Interrupted,
                    _ = terminate.recv() => StopCause::Terminated,
                };
                let first = sender.send_if_modified(|seen| {
                    let first = seen.is_none();
                    seen.get_or_insert(cause);
                    first
                });
                if !first {
                    crate::terminal::say("still putting things back; this ends by itself");
                }
            }
        });
        Ok(Self(receiver))
    }

    /// The same, and of whoever holds the other half: for a part of the work that can be ended
    /// alone.
    pub(crate) fn of_a_part(&self) -> (Interrupter, Self) {
        let (sender, receiver) = watch::channel(None);
        let interrupter = Interrupter(sender);
        tokio::spawn({
            let (all, interrupter) = (self.clone(), interrupter.clone());
            async move {
                tokio::select! {
                    cause = all.wait() => interrupter.interrupt(cause),
                    () = interrupter.0.closed() => {}
                }
            }
        });
        (interrupter, Self(receiver))
    }

    /// Whether there was an interruption.
    pub(crate) fn came(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Resolves when there was an interruption, now or earlier.
    pub(crate) async fn wait(&self) -> StopCause {
        let mut receiver = self.0.clone();
        let seen = receiver.wait_for(Option::is_some).await;
        let cause = seen.ok().and_then(|cause| cause.clone());
        match cause {
            Some(cause) => cause,
            // The listener ends with the runtime only.
            None => std::future::pending().await,
        }
    }

    /// Runs `work` unless it is interrupted; dropping it must undo what it began.
    pub(crate) async fn unless<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            cause = self.wait() => Err(Failure::interrupted(&cause)),
        }
    }
}

/// Interrupts a part of the work.
#[derive(Clone, Debug)]
pub(crate) struct Interrupter(watch::Sender<Option<StopCause>>);

impl Interrupter {
    /// The first cause counts.
    pub(crate) fn interrupt(&self, cause: StopCause) {
        self.0.send_if_modified(|seen| {
            let first = seen.is_none();
            seen.get_or_insert(cause);
            first
        });
    }
}
