//! How workers come into being.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::protocol::{TOKEN_VARIABLE, Token};

/// Last lines that are kept of what a worker says.
const LINES_KEPT: usize = 5;

/// How long a worker may take to end when its connection has ended.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A worker under way: ends with words about how it ended, and ends the worker when it is dropped.
pub type Process = AbortOnDropHandle<String>;

/// What a worker has to know to report for duty.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where the coordinator listens.
    pub coordinator: SocketAddr,
    /// The worker's number, from 0.
    pub index: u32,
    /// What lets it in.
    pub token: Token,
}

/// Brings workers into being.
pub trait Launcher: Send + Sync {
    /// Starts one worker, in the tokio runtime that calls.
    ///
    /// # Errors
    /// It cannot be started.
    fn launch(&self, post: Post) -> io::Result<Process>;
}

/// Workers as processes on this machine: a program with arguments, to which `--coordinator` and
/// `--index` are added. Each is a process group of its own, so that Ctrl-C in a terminal reaches
/// the coordinator alone.
#[derive(Clone, Debug)]
pub struct Processes {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<OsString>,
}

impl Launcher for Processes {
    fn launch(&self, post: Post) -> io::Result<Process> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .args(["--coordinator", &post.coordinator.to_string()])
            .args(["--index", &post.index.to_string()])
            .env(TOKEN_VARIABLE, post.token.secret())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let stderr = child.stderr.take();
        let life = async move {
            let said = match stderr {
                Some(stderr) => last_lines(stderr).await,
                None => String::new(),
            };
            let ended = match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            if said.is_empty() {
                ended
            } else {
                format!("{ended}: {said}")
            }
        };
        Ok(AbortOnDropHandle::new(tokio::spawn(life)))
    }
}

/// How a worker ended whose connection has ended. One that has not ended soon afterwards is ended.
pub(crate) async fn last_words(process: Process) -> String {
    match timeout(END_WITHIN, process).await {
        Ok(ended) => words(ended),
        Err(_elapsed) => "its connection ended".to_owned(),
    }
}

pub(crate) fn words(ended: Result<String, JoinError>) -> String {
    ended.unwrap_or_else(|error| error.to_string())
}

/// Reads to the end; what is said goes to our own diagnostics, too.
async fn last_lines(source: impl AsyncRead + Unpin) -> String {
    let mut lines = BufReader::new(source).lines();
    let mut last = VecDeque::new();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::info!("a worker says: {line}");
        if last.len() == LINES_KEPT {
            last.pop_front();
        }
        last.push_back(line);
    }
    Vec::from(last).join("; ")
}
