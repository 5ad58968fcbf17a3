//! `holdfast load-worker`: one process of a load that several send together.

use holdfast_load::workers::{self, Clock, TOKEN_VARIABLE, Token, WorkerError, WorkerOptions};

use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;

/// Options of `holdfast load-worker`.
///
/// The token that lets the worker in is in the environment variable HOLDFAST_WORKER_TOKEN: every
/// user of a machine can read command lines.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the coordinator listens
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: String,
    /// This worker's number, from 0; in a Kubernetes Job that is $JOB_COMPLETION_INDEX
    #[arg(long, value_name = "N")]
    index: u32,
}

/// Sends this worker's share of the load; returns the exit code.
pub(crate) async fn load_worker(arguments: Arguments) -> Result<u8, Failure> {
    let interrupts = Interrupts::listen()?;
    let token = std::env::var(TOKEN_VARIABLE).map_err(|_| {
        Failure::input(format!("the environment has no {TOKEN_VARIABLE}")).hint(
            "`holdfast run --workers N` starts its workers itself; a worker that is started by \
             other means needs the token of its coordinator",
        )
    })?;
    let options = WorkerOptions {
        coordinator: arguments.coordinator,
        index: arguments.index,
        token: Token::new(token),
        clock: Clock::of_this_machine(),
    };
    let work = async {
        workers::work(&options)
            .await
            .map_err(|error| failure(&error))
    };
    interrupts.unless(work).await.map(|()| 0)
}

fn failure(error: &WorkerError) -> Failure {
    let words = chain(error);
    match error {
        WorkerError::Unreachable { .. } => {
            Failure::input(words).hint("check --coordinator; it must be running already")
        }
        WorkerError::Refused(_) | WorkerError::Unprepared(_) => Failure::input(words),
        WorkerError::Load(_) | WorkerError::Orphaned | WorkerError::Protocol(_) => {
            Failure::carrying_out(words)
        }
    }
}
