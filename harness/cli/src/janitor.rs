//! The process that undoes what a run has begun in a cluster that is not ours, should this one die:
//! this very program as `holdfast janitor`.
//!
//! It holds a lifeline: a pipe to this process. Over it comes what there will be to remove, before
//! it is made, and when everything is undone a word of dismissal. A pipe that ends without that word
//! means that the run is dead, or could not put everything back.

use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::cluster::own_program;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::tenancy::Made;

/// The hidden subcommand.
const JANITOR: &str = "janitor";

/// What it says when it stands ready.
pub(crate) const READY: &str = "ready";

/// It has nothing to do at a normal end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What is said over the lifeline, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Word {
    /// This will be made.
    Made(Box<Made>),
    /// Everything is undone.
    Dismissed,
}

/// A janitor that stands ready. Dropped without [`Janitor::dismiss`], it goes to work.
#[derive(Debug)]
pub(crate) struct Janitor {
    child: Child,
    lifeline: ChildStdin,
}

impl Janitor {
    /// Starts one, and waits until it has left this process's session: from then on no signal of a
    /// terminal reaches it.
    pub(crate) async fn start(
        connection: &Connection,
        namespace: &str,
        run: &str,
    ) -> Result<Self, Failure> {
        let cannot = |error| Failure::carrying_out(format!("cannot start the janitor: {error}"));
        let mut command = Command::new(own_program()?);
        command.arg(JANITOR);
        if let Some(context) = &connection.context {
            command.args(["--context", context]);
        }
        let mut child = command
            .args(["--namespace", namespace, "--run", run])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let (Some(lifeline), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::carrying_out("the janitor has no pipes"));
        };
        let mut said = String::new();
        let read = BufReader::new(out).read_line(&mut said).await;
        read.map_err(cannot)?;
        if said.trim() == READY {
            return Ok(Self { child, lifeline });
        }
        Err(Failure::carrying_out(
            "the janitor, which undoes everything should this process be killed, does not start",
        ))
    }

    /// Tells what will be made.
    pub(crate) async fn note(&mut self, made: &Made) -> Result<(), Failure> {
        self.tell(&Word::Made(Box::new(made.clone()))).await
    }

    /// Ends it: there is nothing left to undo.
    pub(crate) async fn dismiss(mut self) {
        if self.tell(&Word::Dismissed).await.is_err() {
            // It is gone already.
            return;
        }
        drop(self.lifeline);
        // Whether it lingers is no matter to what was asked of this process.
        drop(tokio::time::timeout(END_WITHIN, self.child.wait()).await);
    }

    async fn tell(&mut self, word: &Word) -> Result<(), Failure> {
        let mut line = serde_json::to_string(word).expect("words are plain data");
        line.push('\n');
        let told = async {
            self.lifeline.write_all(line.as_bytes()).await?;
            self.lifeline.flush().await
        };
        told.await.map_err(|error| {
            Failure::carrying_out(format!(
                "the janitor, which undoes everything should this process be killed, is gone: \
                 {error}"
            ))
        })
    }
}
