//! `holdfast controller`: carries out the objects of a cluster, until Ctrl-C or SIGTERM.

use std::path::PathBuf;

use holdfast_faults::Controller;
use tokio_util::sync::CancellationToken;

use crate::connection::{Agent, Scope};
use crate::experiments::{self, Failures, Shared, Turns};
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::{permissions, terminal};

/// Options of `holdfast controller`.
///
/// In a pod it works on the cluster around it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    agent: Agent,
    /// The folder from which relative paths in experiments start
    #[arg(long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// The folder under which the runs' folders are made, as <experiment>/<run>
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// Print the definitions of the objects, for kubectl apply, and end
    #[arg(long)]
    print_definitions: bool,
}

/// Works until it is interrupted; returns the exit code.
pub(crate) async fn controller(arguments: Arguments) -> Result<u8, Failure> {
    let definitions = experiments::definitions();
    if arguments.print_definitions {
        terminal::result(&permissions::yaml(&definitions)?);
        return Ok(0);
    }
    let interrupts = Interrupts::listen()?;
    let preparing = async {
        let connection = arguments.scope.cluster.connect().await?;
        let installed = holdfast_faults::install(&connection.client, &definitions).await;
        installed.map_err(|error| Failure::carrying_out(chain(&error)))?;
        Ok(connection)
    };
    let connection = interrupts.unless(preparing).await?;
    let stop = CancellationToken::new();
    let faults = Controller::new(
        connection.client.clone(),
        arguments.scope.namespace.clone(),
        arguments.agent.image.clone(),
        stop.clone(),
    );
    let faults = tokio::spawn(faults.run());
    terminal::say(&format!(
        "working on the experiments and faults of cluster {}; Ctrl-C ends it",
        connection.name()
    ));
    let shared = Shared {
        connection,
        namespace: arguments.scope.namespace,
        directory: arguments.directory,
        out: arguments.out,
        agent_image: arguments.agent.image,
        interrupts,
        turns: Turns::default(),
        failures: Failures::default(),
    };
    experiments::carry_out(shared).await;
    // Faults end after the experiments that want them.
    stop.cancel();
    faults
        .await
        .map_err(|_panic| Failure::carrying_out("the controller of the faults panicked"))?;
    Ok(0)
}
