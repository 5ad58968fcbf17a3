//! The question before anything is done to a cluster that was not made for the run.

use holdfast_core::experiment::Experiment;
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::terminal;

/// Says what is about to be done to which cluster.
pub(crate) fn announce(experiment: &Experiment, connection: &Connection) {
    terminal::say(&announcement(experiment, connection));
}

/// Says it, and asks where there is a person to ask; anything but a yes is a no.
pub(crate) async fn confirm(
    experiment: &Experiment,
    connection: &Connection,
) -> Result<(), Failure> {
    announce(experiment, connection);
    if !terminal::can_ask() {
        return Ok(());
    }
    terminal::show("Go on? [y/N] ");
    let (told, answer) = oneshot::channel();
    // Reading cannot be interrupted: the process must be able to end without this thread.
    std::thread::spawn(move || {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).is_ok() {
            // Whoever asked may be gone.
            drop(told.send(line));
        }
    });
    let answer = answer.await.unwrap_or_default();
    if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::input("not confirmed; nothing was changed").hint("--yes does not ask"))
}

fn announcement(experiment: &Experiment, connection: &Connection) -> String {
    let mut lines = vec![format!(
        "{} on cluster {} ({})",
        experiment.name,
        connection.name(),
        connection.server
    )];
    if let Some(system) = &experiment.system {
        let namespace = &system.namespace;
        lines.push(if system.manifests.is_empty() {
            format!("  tests what runs in namespace {namespace}")
        } else {
            format!("  applies its manifests to namespace {namespace}, and removes them afterwards")
        });
    }
    for step in &experiment.method {
        lines.push(format!("  {}: {}", step.name, step.fault.describe()));
    }
    lines.join("\n")
}
