//! What every reference service needs and no domain knows: settings from the environment, logs,
//! metrics, health, errors over HTTP, an orderly end, and calls to others that may fail.

pub mod as_text;
pub mod background;
pub mod batch;
pub mod chance;
pub mod clock;
pub mod database;
pub mod deadline;
pub mod detached;
pub mod env;
pub mod events;
pub mod folder;
pub mod gate;
pub mod inbox;
pub mod metrics;
pub mod outbox;
pub mod precise;
pub mod problem;
pub mod processor;
pub mod resilience;
pub mod server;
pub mod telemetry;
pub mod trace;

use std::process::ExitCode;

/// Turns the outcome of `main` into an exit code: 0, or 1 after one line on standard error that
/// tells the whole chain of causes.
pub fn exit<E: std::error::Error>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// What an error says, and all that caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[expect(
    clippy::print_stderr,
    reason = "the last words of a process that could not start or stop properly"
)]
fn report(text: &str) {
    eprintln!("error: {text}");
}
