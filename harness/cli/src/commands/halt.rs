//! `holdfast halt` and `holdfast resume`: the kill switch of a cluster.

use crate::connection::Choice;
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::terminal;

/// Options of `holdfast halt`.
#[derive(Debug, clap::Args)]
pub(crate) struct HaltArguments {
    #[command(flatten)]
    cluster: Choice,
    /// Why: whoever runs an experiment meanwhile is told
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    reason: String,
}

/// Options of `holdfast resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArguments {
    #[command(flatten)]
    cluster: Choice,
}

/// Sets the switch; returns the exit code.
pub(crate) async fn halt(arguments: HaltArguments) -> Result<u8, Failure> {
    let halting = async {
        let connection = arguments.cluster.connect().await?;
        let halted = holdfast_faults::halt(&connection.client, &arguments.reason).await;
        halted.map_err(|error| Failure::carrying_out(chain(&error)))?;
        let name = connection.name();
        terminal::say(&format!(
            "cluster {name} is halted: faults are being undone, and new ones refused until \
             `holdfast resume`; `holdfast status` says how far that is"
        ));
        Ok(0)
    };
    Interrupts::listen()?.unless(halting).await
}

/// Takes the switch back; returns the exit code.
pub(crate) async fn resume(arguments: ResumeArguments) -> Result<u8, Failure> {
    let resuming = async {
        let connection = arguments.cluster.connect().await?;
        let resumed = holdfast_faults::resume(&connection.client).await;
        let was_halted = resumed.map_err(|error| Failure::carrying_out(chain(&error)))?;
        let name = connection.name();
        terminal::say(&if was_halted {
            format!("cluster {name} permits faults again")
        } else {
            format!("cluster {name} was not halted")
        });
        Ok(0)
    };
    Interrupts::listen()?.unless(resuming).await
}
