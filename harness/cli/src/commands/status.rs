//! `holdfast status`: the faults that a cluster knows of.

use holdfast_faults::FaultInjection;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
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
    fn of(object: &FaultInjection) -> Self {
        let status = object.status.clone().unwrap_or_default();
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            run: object.spec.run.clone(),
            step: object.spec.step.clone(),
            fault: object.spec.fault.describe(),
            phase: format!("{:?}", status.phase),
            not_after: object.spec.not_after.clone(),
            error: status.error,
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
    let api: Api<FaultInjection> = match &arguments.scope.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let faults = match api.list(&ListParams::default()).await {
        Ok(objects) => objects.iter().map(Row::of).collect(),
        // A cluster that does not know the kind has none.
        Err(kube::Error::Api(status)) if status.is_not_found() => Vec::new(),
        Err(error) => {
            let words = chain(&error);
            return Err(Failure::carrying_out(format!(
                "cannot list faultinjections: {words}"
            )));
        }
    };
    Ok(Status { halted, faults })
}
