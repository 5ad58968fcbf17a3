//! What belongs to the whole process: Ctrl-C, the `log` sink and the limit of open files.

use std::fs;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::generator::open_descriptors;

/// File descriptors the rest of the process may need besides the load's sockets.
const DESCRIPTORS_BESIDE: u64 = 128;

/// Why the process cannot be used for load.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProcessError {
    /// Something else handles Ctrl-C already, and Goose would silently replace it.
    #[error(
        "a Ctrl-C handler is installed already, which Goose would replace; call \
         `holdfast_load::claim_process` before any handler is installed"
    )]
    InterruptHandlerPresent,
    /// The operating system refused a handler.
    #[error("could not prepare the handling of Ctrl-C: {0}")]
    Interrupts(String),
    /// The limit of open files is too low and cannot be raised.
    #[error(
        "{needed} file descriptors are needed for the load, {limit} may be open; raise the limit \
         with `ulimit -n {needed}` or use fewer users"
    )]
    Descriptors {
        /// How many the load needs at most.
        needed: u64,
        /// How many may be open.
        limit: u64,
    },
}

/// Takes what Goose would otherwise take over of the whole process: the one handler slot of the
/// `ctrlc` crate, behind which a second Ctrl-C ends the process at once, and the `log` sink, to
/// which it would print.
///
/// Call it at the start of the program, before anything listens for SIGINT: `tokio::signal`
/// listeners installed afterwards see every Ctrl-C, and Goose changes nothing any more.
/// Without such a listener Ctrl-C does nothing from here on. Idempotent; [`driver`](crate::driver) calls it too and fails when it comes too late.
///
/// # Errors
/// A handler for SIGINT was installed before, or the operating system refused ours.
pub fn claim_process() -> Result<(), ProcessError> {
    static CLAIM: OnceLock<Result<(), ProcessError>> = OnceLock::new();
    CLAIM
        .get_or_init(|| {
            // Taken already means that somebody listens to `log`, and Goose cannot replace them.
            if log::set_logger(&Silence).is_err() {
                tracing::debug!("another log sink is installed and stays");
            }
            if catches_interrupt() {
                return Err(ProcessError::InterruptHandlerPresent);
            }
            // Does nothing but occupy the slot: `tokio::signal` adds its listeners beside it.
            ctrlc::set_handler(|| {}).map_err(|error| ProcessError::Interrupts(error.to_string()))
        })
        .clone()
}

/// Drops what is logged through `log` (our own diagnostics go through `tracing`).
struct Silence;

impl log::Log for Silence {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        false
    }

    fn log(&self, _: &log::Record<'_>) {}

    fn flush(&self) {}
}

/// Whether this process has a handler for SIGINT (the mask of caught signals in
/// `/proc/self/status`; an ignored signal, as in a shell's background job, is none).
fn catches_interrupt() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let interrupt = 1 << (nix::sys::signal::Signal::SIGINT as u32 - 1);
    caught.is_some_and(|mask| mask & interrupt != 0)
}

/// Makes sure that `sockets` can be open at once, raising the soft limit when it is too low.
pub(crate) fn provide_descriptors(sockets: u64) -> Result<(), ProcessError> {
    let needed = open_descriptors() + sockets + DESCRIPTORS_BESIDE;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((needed, needed));
    if needed <= soft {
        return Ok(());
    }
    let raised = needed <= hard && setrlimit(Resource::RLIMIT_NOFILE, needed, hard).is_ok();
    if raised {
        Ok(())
    } else {
        Err(ProcessError::Descriptors {
            needed,
            limit: hard,
        })
    }
}
