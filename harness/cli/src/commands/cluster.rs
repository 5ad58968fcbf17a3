//! `holdfast cluster`: what can be done with a cluster beside running experiments on it.

use crate::failure::Failure;

mod check;
pub(super) mod up;

/// Options of `holdfast cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Start the local cluster in the foreground, until Ctrl-C.
    Up(up::Arguments),
    /// Put the rules of Kubernetes to the test, on a fresh local cluster or on another one.
    Check(check::Arguments),
}

/// Carries it out; returns the exit code.
pub(crate) async fn cluster(arguments: Arguments) -> Result<u8, Failure> {
    match arguments.action {
        Action::Up(arguments) => up::hold_up(arguments).await,
        Action::Check(arguments) => check::check(arguments).await,
    }
}
