//! `holdfast recover`: undoes what runs that are no longer alive have left.

use futures::future::try_join_all;
use holdfast_faults::Found;
use kube::Client;

use crate::connection::Scope;
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::progress::{Step, Verbosity};
use crate::terminal;

/// Options of `holdfast recover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    scope: Scope,
    /// Undo the faults of living runs, too: such a run is inconclusive
    #[arg(long)]
    all: bool,
}

/// Undoes them one by one; returns the exit code.
pub(crate) async fn recover(arguments: Arguments) -> Result<u8, Failure> {
    let interrupts = Interrupts::listen()?;
    let recovering = async {
        let client = arguments.scope.cluster.connect().await?.client;
        let found = abandoned(&client, &arguments).await?;
        if found.is_empty() {
            terminal::say("there is nothing to undo");
        }
        let mut left = Vec::new();
        for fault in &found {
            let what = format!("{}/{}", fault.namespace, fault.name);
            let undoing = format!("undoing {what}: {} of run {}", fault.fault, fault.run);
            let step = Step::begin(Verbosity::Normal, &undoing);
            let undone = holdfast_faults::recover(&client, fault).await;
            drop(step);
            match undone {
                Ok(evidence) => terminal::say(&format!("{what}: reverted: {evidence}")),
                Err(error) => left.push(format!("{what}: {}", chain(&error))),
            }
        }
        if left.is_empty() {
            Ok(0)
        } else {
            Err(Failure::not_put_back(&left))
        }
    };
    interrupts.unless(recovering).await
}

/// The faults of runs that are no longer alive, or all.
async fn abandoned(client: &Client, arguments: &Arguments) -> Result<Vec<Found>, Failure> {
    let unknown = |error| Failure::carrying_out(chain(&error));
    let found = holdfast_faults::found(client, arguments.scope.namespace.as_deref()).await;
    let found = found.map_err(unknown)?;
    if arguments.all {
        return Ok(found);
    }
    // Whether somebody renews a lease takes as long as a lease lasts: all at once.
    let looking = found
        .iter()
        .map(|fault| holdfast_faults::is_wanted(client, fault));
    let wanted = try_join_all(looking).await.map_err(unknown)?;
    let mut abandoned = Vec::new();
    for (fault, is_wanted) in found.into_iter().zip(wanted) {
        if is_wanted {
            terminal::say(&format!(
                "{}/{} belongs to run {}, which is alive; --all undoes it, too",
                fault.namespace, fault.name, fault.run
            ));
        } else {
            abandoned.push(fault);
        }
    }
    Ok(abandoned)
}
