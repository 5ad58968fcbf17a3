//! The prober: connections at a fixed pace, each counted by what became of it.
//!
//! Its log has a line `counts {…}` ten times a second while anything changes, and one at its end:
//! the sums since its start, as [`Counts`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::arguments::Probe;
use super::{own_name, say};

/// A client's patience, for a connection and again for its answer.
const PATIENCE: Duration = Duration::from_secs(2);
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// What became of all connections so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Counts {
    /// Answers, by the pod that gave them.
    pub(crate) answered: BTreeMap<String, u64>,
    /// Failures by kind: `refused`, `connect-timeout`, `unreachable`, `reset`, `closed`, `timeout`,
    /// `status-N`.
    pub(crate) failed: BTreeMap<String, u64>,
    /// How long the slowest refusal took.
    pub(crate) slowest_refusal_ms: u64,
    /// Connections opened.
    pub(crate) connections: u64,
}

impl Counts {
    pub(crate) fn answers(&self) -> u64 {
        self.answered.values().sum()
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// What was counted after `earlier`; the slowest refusal remains that of all time.
    pub(crate) fn since(mut self, earlier: &Self) -> Self {
        for (pod, n) in &earlier.answered {
            let answers = self.answered.entry(pod.clone()).or_default();
            *answers = answers.saturating_sub(*n);
        }
        for (kind, n) in &earlier.failed {
            let failures = self.failed.entry(kind.clone()).or_default();
            *failures = failures.saturating_sub(*n);
        }
        self.answered.retain(|_, n| *n > 0);
        self.failed.retain(|_, n| *n > 0);
        self.connections = self.connections.saturating_sub(earlier.connections);
        self
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.failed.get("refused").copied().unwrap_or(0)
    }
}

type Shared = Rc<RefCell<Counts>>;

pub(super) async fn probe(script: Probe) -> ExitCode {
    say(&format!("start {} {}", std::process::id(), own_name()));
    let counts = Shared::default();
    let local = tokio::task::LocalSet::new();
    let code = local
        .run_until(async {
            let Ok(mut terminated) = signal(SignalKind::terminate()) else {
                say("mistake SIGTERM cannot be handled");
                return 2;
            };
            tokio::select! {
                () = work(&script, &counts) => 0,
                () = report(&counts) => 0,
                _ = terminated.recv() => 0,
            }
        })
        .await;
    tell(&counts.borrow());
    say(&format!("exit {code}"));
    ExitCode::from(code)
}

async fn work(script: &Probe, counts: &Shared) {
    if script.keep_alive {
        keep_asking(script, counts).await;
    } else {
        keep_connecting(script, counts).await;
    }
}

async fn report(counts: &Shared) {
    let mut told = Counts::default();
    let mut ticks = interval(REPORT_EVERY);
    loop {
        ticks.tick().await;
        let now = counts.borrow().clone();
        if now != told {
            tell(&now);
            told = now;
        }
    }
}

fn tell(counts: &Counts) {
    match serde_json::to_string(counts) {
        Ok(text) => say(&format!("counts {text}")),
        Err(error) => say(&format!("mistake {error}")),
    }
}

/// A new connection at each tick, whatever became of those before it.
async fn keep_connecting(script: &Probe, counts: &Shared) {
    let mut ticks = interval(script.every);
    let mut open = JoinSet::new();
    let mut begun = 0;
    while script.count.is_none_or(|count| begun < count) {
        ticks.tick().await;
        begun += 1;
        let (target, counts) = (script.target.clone(), Rc::clone(counts));
        open.spawn_local(async move {
            let began = Instant::now();
            let outcome = match connect(&target).await {
                Ok(mut stream) => {
                    counts.borrow_mut().connections += 1;
                    ask(&mut stream, true).await
                }
                Err(kind) => Err(kind),
            };
            count(&counts, outcome, began.elapsed());
        });
        while open.try_join_next().is_some() {}
    }
    while open.join_next().await.is_some() {}
}

/// One request at each tick on the same connection; a new one when that has failed.
async fn keep_asking(script: &Probe, counts: &Shared) {
    let mut ticks = interval(script.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = None;
    let mut begun = 0;
    while script.count.is_none_or(|count| begun < count) {
        ticks.tick().await;
        begun += 1;
        let began = Instant::now();
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => match connect(&script.target).await {
                Ok(stream) => {
                    counts.borrow_mut().connections += 1;
                    stream
                }
                Err(kind) => {
                    count(counts, Err(kind), began.elapsed());
                    continue;
                }
            },
        };
        let outcome = ask(&mut stream, false).await;
        if outcome.is_ok() {
            connection = Some(stream);
        }
        count(counts, outcome, began.elapsed());
    }
}

async fn connect(target: &str) -> Result<TcpStream, String> {
    match timeout(PATIENCE, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Err("refused".to_owned()),
        Ok(Err(_)) => Err("unreachable".to_owned()),
        Err(_) => Err("connect-timeout".to_owned()),
    }
}

/// One request; the pod that answered it.
async fn ask(stream: &mut TcpStream, close: bool) -> Result<String, String> {
    let header = if close { "connection: close\r\n" } else { "" };
    let exchange = async {
        let request = format!("GET / HTTP/1.1\r\nhost: victim\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await?;
        read_answer(stream).await
    };
    match timeout(PATIENCE, exchange).await {
        Ok(Ok(Some((200, pod)))) => Ok(pod),
        Ok(Ok(Some((status, _)))) => Err(format!("status-{status}")),
        Ok(Ok(None)) => Err("closed".to_owned()),
        Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => Err("closed".to_owned()),
        Ok(Err(_)) => Err("reset".to_owned()),
        Err(_) => Err("timeout".to_owned()),
    }
}

/// Status and body; nothing when the connection ends before an answer.
async fn read_answer(stream: &mut TcpStream) -> std::io::Result<Option<(u16, String)>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let status = line.split_whitespace().nth(1);
    let status = status.and_then(|word| word.parse().ok()).unwrap_or(0);
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap_or(0);
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    Ok(Some((status, String::from_utf8_lossy(&body).into_owned())))
}

fn count(counts: &Shared, outcome: Result<String, String>, took: Duration) {
    let mut counts = counts.borrow_mut();
    match outcome {
        Ok(pod) => *counts.answered.entry(pod).or_default() += 1,
        Err(kind) => {
            if kind == "refused" {
                let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                counts.slowest_refusal_ms = counts.slowest_refusal_ms.max(took);
            }
            *counts.failed.entry(kind).or_default() += 1;
        }
    }
}
