//! `holdfast agent`: what does harm inside a cluster, as the program of a pod.

use holdfast_agent::Arguments;

use crate::failure::{Failure, chain};
use crate::interrupts;

/// The hidden subcommand's name.
pub(crate) const NAME: &str = "agent";

/// Does harm until it is over; returns the exit code.
pub(crate) async fn agent(arguments: Arguments) -> Result<u8, Failure> {
    // It knows by itself how to end.
    interrupts::release()?;
    match holdfast_agent::run(arguments).await {
        Ok(()) => Ok(0),
        Err(error) if error.is_input() => Err(Failure::input(chain(&error))),
        Err(error) => Err(Failure::carrying_out(chain(&error))),
    }
}
