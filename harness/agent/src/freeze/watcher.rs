//! The watcher: a process that lets a pod's processes go on when the agent is no longer there.
//!
//! It reads one line per process, `<pid> <tick of its start>`, each written before the process is
//! stopped. At the end of its standard input, whatever brought that about, it continues all of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;
use crate::process::Process;

/// The hidden subcommand under which the agent is the watcher.
pub(crate) const WATCH: &str = "watch-frozen";

/// What the watcher says when nothing but SIGKILL ends it before its time.
const ARMED: &[u8] = b"armed\n";

/// The agent's end.
#[derive(Debug)]
pub(super) struct Watcher {
    process: Child,
    lifeline: ChildStdin,
}

impl Watcher {
    /// Starts this very program as the watcher.
    pub(super) async fn start() -> Result<Self, Error> {
        let cannot = |error: std::io::Error| Error::Watcher(error.to_string());
        let mut process = Command::new("/proc/self/exe")
            .args(own_prefix(std::env::args_os()))
            .arg(WATCH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What ends the agent's group is not to end its watcher.
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        let lifeline = process.stdin.take().expect("stdin is piped");
        let mut said = process.stdout.take().expect("stdout is piped");
        // Before that it could still be ended by a signal for the agent.
        said.read_exact(&mut [0; ARMED.len()])
            .await
            .map_err(cannot)?;
        Ok(Self { process, lifeline })
    }

    /// Has it continue a process at the end.
    pub(super) async fn guard(&mut self, process: &Process) -> Result<(), Error> {
        let line = format!("{} {}\n", process.pid, process.started);
        let written = self.lifeline.write_all(line.as_bytes()).await;
        written.map_err(|error| Error::Watcher(error.to_string()))
    }

    /// Returns when the watcher has ended, which it should not.
    pub(super) async fn gone(&mut self) -> Error {
        match self.process.wait().await {
            Ok(status) => Error::Watcher(format!("it ended with {status}")),
            Err(error) => Error::Watcher(error.to_string()),
        }
    }

    /// Lets it do its work, and waits until it is done.
    pub(super) async fn finish(self) -> Result<(), Error> {
        let Self {
            mut process,
            lifeline,
        } = self;
        drop(lifeline);
        match process.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Error::Watcher(format!("it ended with {status}"))),
            Err(error) => Err(Error::Watcher(error.to_string())),
        }
    }
}

/// The arguments by which this program becomes the agent.
fn own_prefix(all: impl Iterator<Item = OsString>) -> Vec<OsString> {
    all.skip(1).take_while(|word| word != "freeze").collect()
}

/// The watcher's whole life.
pub(crate) fn watch() -> Result<(), Error> {
    // Whoever signals the agent's processes one by one must not get the watcher first.
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        // A handler stays for ever once it is there.
        drop(signal(kind).map_err(Error::Signals)?);
    }
    std::io::stdout()
        .write_all(ARMED)
        .map_err(|error| Error::Watcher(error.to_string()))?;
    let mut guarded = BTreeMap::new();
    // Nothing else is to be done in this process meanwhile. What cannot be read is the end, too.
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let numbers = line
            .split_once(' ')
            .and_then(|(pid, started)| Some((pid.parse().ok()?, started.parse().ok()?)));
        if let Some((pid, started)) = numbers
            && let Ok(Some(process)) = Process::open(pid, started)
        {
            guarded.insert(pid, process);
        }
    }
    // All of them, before anything is said about one that failed.
    let failed: Vec<i32> = guarded
        .into_values()
        .filter(|process| process.go_on().is_err())
        .map(|process| process.pid)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::Watcher(format!("it cannot continue {failed:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_started_as_the_agent_was() {
        let words = |text: &str| -> Vec<OsString> { text.split(' ').map(Into::into).collect() };
        let prefix = own_prefix(words("holdfast agent freeze --until 1").into_iter());
        assert_eq!(prefix, ["agent"]);
        let prefix = own_prefix(words("runner freeze").into_iter());
        assert!(prefix.is_empty());
    }
}
