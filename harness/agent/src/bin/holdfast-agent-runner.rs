//! The agent as a program of its own, for this crate's tests.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    agent: holdfast_agent::Arguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    match holdfast_agent::run(Arguments::parse().agent).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading any longer.
            drop(writeln!(std::io::stderr(), "error: {error}: {error:?}"));
            ExitCode::FAILURE
        }
    }
}
