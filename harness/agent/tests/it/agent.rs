//! An agent in a process of its own.

use std::net::SocketAddr;
use std::process::{ExitStatus, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// The machine may be busy: what takes longer than this does not happen at all.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running agent. Dropped, it is killed.
pub(crate) struct Agent {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    status: SocketAddr,
    /// Where a proxy listens.
    pub(crate) listening: Vec<SocketAddr>,
}

/// In seconds since 1970.
pub(crate) fn in_seconds(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (now.as_secs() + seconds).to_string()
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-agent-runner"));
    command
        .args(words)
        .args(["--status-port", "0"])
        .env("BIND_ADDR", "127.0.0.1")
        .kill_on_drop(true);
    command
}

/// Runs an agent that is expected to end by itself.
pub(crate) async fn run(words: &[&str]) -> Output {
    timeout(DEADLINE, command(words).output())
        .await
        .expect("the agent should end")
        .unwrap()
}

impl Agent {
    /// Starts an agent for some minutes, and waits until its harm is done.
    pub(crate) async fn start(words: &[&str]) -> Self {
        Self::until(&in_seconds(300), words).await
    }

    /// Starts an agent whose harm ends at `until`.
    pub(crate) async fn until(until: &str, words: &[&str]) -> Self {
        let mut process = command(words)
            .args(["--until", until])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut agent = Self {
            process,
            lines,
            status: "127.0.0.1:0".parse().unwrap(),
            listening: Vec::new(),
        };
        loop {
            let (event, about) = agent.next_event().await;
            let address = || about["address"].as_str().unwrap().parse().unwrap();
            match event.as_str() {
                "status" => agent.status = address(),
                "listening" => agent.listening.push(address()),
                "began" => return agent,
                other => panic!("{other} before the agent began"),
            }
        }
    }

    /// Waits until the agent's log tells of this event; what it says then. Meanwhile it may count.
    pub(crate) async fn told(&mut self, wanted: &str) -> Value {
        loop {
            let (event, about) = self.next_event().await;
            if event == wanted {
                return about;
            }
            assert_eq!(event, "counted", "before {wanted}");
        }
    }

    async fn next_event(&mut self) -> (String, Value) {
        let line = timeout(DEADLINE, self.lines.next_line()).await.unwrap();
        let line = line.unwrap().expect("the agent has ended");
        let event: Value = serde_json::from_str(&line).unwrap();
        let name = event["event"].as_str().unwrap().to_owned();
        (name, event["about"].clone())
    }

    /// Waits until the harm is undone; what the agent says of it.
    pub(crate) async fn ended(&mut self) -> Value {
        self.told("ended").await
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id().unwrap().try_into().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.process.wait())
            .await
            .expect("the agent should end")
            .unwrap()
    }

    /// Ends it, whatever it does.
    pub(crate) async fn end(mut self) {
        self.process.kill().await.unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.status).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The evidence at `/status`.
    pub(crate) async fn evidence(&self) -> Value {
        let answer = self.get("/status").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()["evidence"].clone()
    }

    /// Waits until the evidence is as wanted.
    pub(crate) async fn until_evidence(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        until(async || {
            let evidence = self.evidence().await;
            wanted(&evidence).then_some(evidence)
        })
        .await
    }
}

/// Looks again and again until there is something: for what tells nobody of its changes.
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, found).await.expect("it should come")
}
