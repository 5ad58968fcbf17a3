//! The subcommands: one file each.

use crate::failure::Failure;

mod run;
mod up;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run an experiment on the local cluster and judge it.
    Run(run::Arguments),
    /// Start the local cluster with services in the foreground, until Ctrl-C.
    Up(up::Arguments),
}

/// Carries a command out; returns the exit code.
pub(crate) fn dispatch(command: Command) -> Result<u8, Failure> {
    // Before anything listens for Ctrl-C: Goose would take it over otherwise.
    holdfast_load::claim_process().map_err(|error| Failure::carrying_out(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::carrying_out(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Run(arguments) => run::run(arguments).await,
            Command::Up(arguments) => up::up(arguments).await,
        }
    })
}
