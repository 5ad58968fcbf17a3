//! Ctrl-C stays ours while Goose runs, and Goose stays silent. Signals and handlers belong to a
//! whole process, so each test runs in a process of its own: this test binary once more.

use std::time::Duration;

use holdfast_engine::{Events, LoadDriver as _};
use holdfast_load::{DriverError, Options, ProcessError, driver};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use crate::child::{is_child, say, start_child};
use crate::load::plan;
use crate::server::{Act, Server};

const PATIENCE: Duration = Duration::from_secs(30);

/// Reads until the child says `what`, and fails at anything that neither it nor the test
/// harness said.
async fn hear(said: &mut Lines<BufReader<ChildStdout>>, what: &str) {
    loop {
        let line = tokio::time::timeout(PATIENCE, said.next_line()).await;
        let line = line.expect("the child speaks in time").unwrap();
        let line = line.unwrap_or_else(|| panic!("the child ended before it said {what}"));
        if line == format!("@{what}") {
            return;
        }
        let harness = ["running 1 test", "test interrupts::"];
        let known = line.is_empty() || harness.iter().any(|start| line.starts_with(start));
        assert!(known, "something printed {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_interrupt_reaches_tokio_and_none_ends_the_process() {
    if is_child() {
        return run_through_two_interrupts().await;
    }
    let (mut child, mut said) =
        start_child("interrupts::every_interrupt_reaches_tokio_and_none_ends_the_process");
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap());
    hear(&mut said, "under load").await;
    kill(pid, Signal::SIGINT).unwrap();
    hear(&mut said, "first interrupt").await;
    hear(&mut said, "still under load").await;
    kill(pid, Signal::SIGINT).unwrap();
    hear(&mut said, "second interrupt").await;
    hear(&mut said, "load finished").await;
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap();
    assert!(ended.unwrap().success());
    let mut errors = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).await.unwrap();
    assert_eq!(errors, "");
}

async fn run_through_two_interrupts() {
    let (seen, mut seeing) = unbounded_channel();
    let server = Server::start(move |_, _| {
        seen.send(()).ok();
        Act::CreatedAfter(Duration::from_millis(5))
    })
    .await;
    let load = driver(&server.url(), Options::default()).unwrap();
    let mut interrupts = signal(SignalKind::interrupt()).unwrap();
    let stop = CancellationToken::new();
    let (sender, _receiver) = unbounded_channel();
    let (events, stopped) = (Events::new(sender), stop.clone());
    let plan = plan(3, Duration::from_secs(3600));
    let running = tokio::spawn(async move { load.run(&plan, events, stopped).await });
    seeing.recv().await.unwrap();
    say("under load");
    interrupts.recv().await.unwrap();
    say("first interrupt");
    // More than what was in flight: the load goes on.
    while seeing.try_recv().is_ok() {}
    for _ in 0..20 {
        seeing.recv().await.unwrap();
    }
    say("still under load");
    interrupts.recv().await.unwrap();
    say("second interrupt");
    stop.cancel();
    running.await.unwrap().unwrap();
    say("load finished");
}

#[tokio::test]
async fn a_handler_that_goose_would_replace_is_refused() {
    if is_child() {
        let _listening = signal(SignalKind::interrupt()).unwrap();
        let refused = driver("http://127.0.0.1:9", Options::default()).unwrap_err();
        let process = matches!(
            refused,
            DriverError::Process(ProcessError::InterruptHandlerPresent)
        );
        assert!(process);
        say("refused");
        return;
    }
    let (mut child, mut said) =
        start_child("interrupts::a_handler_that_goose_would_replace_is_refused");
    hear(&mut said, "refused").await;
    assert!(child.wait().await.unwrap().success());
}
