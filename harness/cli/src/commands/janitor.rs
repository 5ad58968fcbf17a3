//! `holdfast janitor`: undoes what a run has begun when that run is dead. `run --context` starts
//! one; nobody else needs to.

use std::io::BufRead as _;
use std::time::Duration;

use kube::Client;

use crate::connection::Choice;
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::janitor::{READY, Word};
use crate::tenancy::{self, Made};
use crate::terminal;

/// The pause after a cluster that does not answer, or does not let something be undone.
const AGAIN: Duration = Duration::from_secs(1);

/// Options of `holdfast janitor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Choice,
    /// The namespace of the run's faults
    #[arg(long, value_name = "NAME")]
    namespace: String,
    /// The run
    #[arg(long, value_name = "ID")]
    run: String,
}

/// Waits until the run is over or dead; returns the exit code.
pub(crate) async fn janitor(arguments: Arguments) -> Result<u8, Failure> {
    nix::unistd::setsid()
        .map_err(|error| Failure::carrying_out(format!("cannot begin a session: {error}")))?;
    // It ends when its work is done: there is nobody else to do it.
    let _interrupts = Interrupts::listen()?;
    let client = arguments.cluster.connect().await?.client;
    let lifeline = tokio::task::spawn_blocking(listen);
    terminal::result(READY);
    let heard = lifeline.await;
    let Some(made) =
        heard.map_err(|_| Failure::carrying_out("the janitor cannot read its lifeline"))?
    else {
        return Ok(0);
    };
    let run = &arguments.run;
    terminal::say(&format!(
        "run {run} is dead; undoing what it has begun in namespace {}",
        arguments.namespace
    ));
    undo_faults(&client, &arguments.namespace, run).await;
    loop {
        let left = tenancy::remove(&client, run, &made).await;
        if left.is_empty() {
            break;
        }
        for what in left {
            terminal::say(&format!("not removed yet: {what}"));
        }
        tokio::time::sleep(AGAIN).await;
    }
    terminal::say(&format!("everything of run {run} is undone"));
    Ok(0)
}

/// Listens until the lifeline ends: what there is to remove, or nothing after a dismissal.
fn listen() -> Option<Vec<Made>> {
    let mut made = Vec::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Word::Made(one)) => made.push(*one),
            Ok(Word::Dismissed) => return None,
            // A line that broke off names nothing that was made.
            Err(_) => {}
        }
    }
    Some(made)
}

/// Undoes the faults of the run until none is left.
async fn undo_faults(client: &Client, namespace: &str, run: &str) {
    loop {
        match holdfast_faults::found(client, Some(namespace)).await {
            Ok(found) => {
                let of_run: Vec<_> = found.into_iter().filter(|one| one.run == run).collect();
                if of_run.is_empty() {
                    return;
                }
                for fault in of_run {
                    match holdfast_faults::recover(client, &fault).await {
                        Ok(evidence) => {
                            terminal::say(&format!("{}: reverted: {evidence}", fault.step));
                        }
                        Err(error) => terminal::say(&format!("{}: {}", fault.step, chain(&error))),
                    }
                }
            }
            Err(error) => terminal::say(&chain(&error)),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
