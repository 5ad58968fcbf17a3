//! `holdfast status`: the faults that a cluster knows of.

use holdfast_faults::Found;
use serde::Serialize;

use crate::connection::Scope;
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::terminal;

/// Options of `holdfast status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    scope: Scope,
    /// Print the machine-readable result alone on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    /// Why everything is halted, if it is.
    halted: Option<String>,
    faults: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    run: String,
    step: String,
    fault: String,
    phase: String,
    not_after: String,
    error: Option<String>,
}

impl Row {
    fn of(found: Found) -> Self {
        Self {
            namespace: found.namespace,
            name: found.name,
            run: found.run,
            step: found.step,
            fault: found.fault,
            phase: format!("{:?}", found.phase),
            not_after: found.not_after,
            error: found.error,
        }
    }

    fn show(&self) -> String {
        let error = self.error.iter().map(|error| format!("\n  {error}"));
        format!(
            "{}/{}: {}, {}, run {}, not after {}{}",
            self.namespace,
            self.name,
            self.phase,
            self.fault,
            self.run,
            self.not_after,
            error.collect::<String>()
        )
    }
}

/// Shows them; returns the exit code.
pub(crate) async fn status(arguments: Arguments) -> Result<u8, Failure> {
    let status = Interrupts::listen()?.unless(look(&arguments)).await?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&status).expect("a status is plain data");
        terminal::result(&text);
        return Ok(0);
    }
    if let Some(why) = &status.halted {
        terminal::result(&format!(
            "halted: {why}; to permit faults again: holdfast resume"
        ));
    }
    for fault in &status.faults {
        terminal::result(&fault.show());
    }
    if status.faults.is_empty() {
        terminal::say("no faults");
    }
    Ok(0)
}

async fn look(arguments: &Arguments) -> Result<Status, Failure> {
    let client = arguments.scope.cluster.connect().await?.client;
    let halted = holdfast_faults::halted(&client).await;
    let halted = halted.map_err(|error| Failure::carrying_out(chain(&error)))?;
    let found = holdfast_faults::found(&client, arguments.scope.namespace.as_deref()).await;
    let found = found.map_err(|error| Failure::carrying_out(chain(&error)))?;
    Ok(Status {
        halted,
        faults: found.into_iter().map(Row::of).collect(),
    })
}
