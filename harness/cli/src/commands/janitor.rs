//! `holdfast janitor`: undoes what a run has begun when that run is dead, or has given up, and its
//! faults when it hangs. `run --context` starts one; nobody else needs to.

use std::io::BufRead as _;
use std::time::Duration;

use holdfast_faults::FaultError;
use kube::Client;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::connection::Choice;
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::janitor::{READY, Word};
use crate::repeated::Repeated;
use crate::tenancy::{self, Made};
use crate::terminal;

/// The pause after a cluster that does not answer, or does not let something be undone.
const AGAIN: Duration = Duration::from_secs(1);

/// No fault lasts longer. What cannot be undone by then has lost its cluster, or needs a person.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

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
    let run = &arguments.run;
    let heard = stand_by(&client, &arguments.namespace, lifeline).await;
    let Some(made) =
        heard.map_err(|_| Failure::carrying_out("the janitor cannot read its lifeline"))?
    else {
        return Ok(0);
    };
    terminal::say(&format!(
        "run {run} has not put everything back; undoing what is left in namespace {}",
        arguments.namespace
    ));
    let undoing = async {
        let mut words = Repeated::default();
        undo_faults(&client, &arguments.namespace, run, &mut words).await;
        remove(&client, run, &made, &mut words).await;
        words.end();
    };
    if tokio::time::timeout(PATIENCE, undoing).await.is_err() {
        let left = format!("what run {run} has begun in {}", arguments.namespace);
        return Err(Failure::not_put_back(&[left]));
    }
    terminal::say(&format!(
        "no fault of run {run} is left, and nothing that it has applied"
    ));
    Ok(0)
}

/// Waits for what the lifeline says, and undoes faults that nobody ends: a run that hangs says
/// nothing. What it has applied stays, for it may come back.
async fn stand_by<T>(
    client: &Client,
    namespace: &str,
    lifeline: JoinHandle<T>,
) -> Result<T, JoinError> {
    let over = CancellationToken::new();
    let say = |fault: &str| terminal::say(&format!("undoing {fault}"));
    let undoing = holdfast_faults::undo_overdue(client, namespace, &over, say);
    let hearing = async {
        let heard = lifeline.await;
        over.cancel();
        heard
    };
    let (heard, ()) = tokio::join!(hearing, undoing);
    heard
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
async fn undo_faults(client: &Client, namespace: &str, run: &str, words: &mut Repeated) {
    loop {
        match undo_once(client, namespace, run).await {
            Ok(evidence) if evidence.is_empty() => return,
            Ok(evidence) => words.say(&evidence.join("\n")),
            Err(error) => words.say(&chain(&error)),
        };
        tokio::time::sleep(AGAIN).await;
    }
}

/// Undoes every fault of the run, and says what became of each; nothing if there is none.
async fn undo_once(client: &Client, namespace: &str, run: &str) -> Result<Vec<String>, FaultError> {
    let mut evidence = Vec::new();
    let found = holdfast_faults::found(client, Some(namespace)).await?;
    for fault in found.iter().filter(|one| one.run == run) {
        let became = match holdfast_faults::recover(client, fault).await {
            Ok(seen) => format!("reverted: {seen}"),
            Err(error) => chain(&error),
        };
        evidence.push(format!("{}: {became}", fault.step));
    }
    Ok(evidence)
}

/// Removes what the run has applied until nothing is left.
async fn remove(client: &Client, run: &str, made: &[Made], words: &mut Repeated) {
    loop {
        let left = tenancy::remove(client, run, made).await;
        if left.is_empty() {
            return;
        }
        words.say(&format!("not removed yet: {}", left.join("; ")));
        tokio::time::sleep(AGAIN).await;
    }
}
