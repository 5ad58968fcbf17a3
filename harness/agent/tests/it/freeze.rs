//! Processes that are stopped, and go on whatever happens to the agent.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use super::agent::{Agent, in_seconds, run, until};
use super::pod::{Container, is_stopped, uid};

async fn freeze(uid: &str, more: &[&str]) -> Agent {
    Agent::start(&[&words(uid)[..], more].concat()).await
}

fn words(uid: &str) -> [&str; 5] {
    ["freeze", "--pod-uid", uid, "--pod-name", "app"]
}

/// The agent's watcher.
fn watcher(agent: &Agent) -> Pid {
    let pid = agent.pid();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children: Vec<String> = threads
        .map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).unwrap())
        .collect();
    Pid::from_raw(children.concat().trim().parse().unwrap())
}

#[tokio::test]
async fn a_pod_is_stopped_and_goes_on_when_the_agent_is_asked_to_end() {
    let uid = uid();
    let container = Container::start(&uid).await;
    let other = Container::start(&super::pod::uid()).await;
    let mut agent = freeze(&uid, &[]).await;
    until(async || container.is_frozen().then_some(())).await;
    assert!(!is_stopped(container.supervisor()));
    assert!(!other.is_frozen());
    let evidence = agent.evidence().await;
    let stopped: Vec<i32> = serde_json::from_value(evidence["stoppedProcesses"].clone()).unwrap();
    let mut below = container.below();
    below.sort_unstable();
    assert_eq!(stopped, below);
    agent.signal(Signal::SIGTERM);
    agent.ended().await;
    assert!(agent.exit().await.success());
    container.runs().await;
}

#[tokio::test]
async fn it_goes_on_after_the_agents_time() {
    let uid = uid();
    let container = Container::start(&uid).await;
    let mut agent = Agent::until(&in_seconds(5), &words(&uid)).await;
    assert_eq!(agent.ended().await["active"], false);
    assert!(agent.exit().await.success());
    container.runs().await;
}

#[tokio::test]
async fn it_goes_on_when_the_agent_is_killed() {
    let uid = uid();
    let container = Container::start(&uid).await;
    for _ in 0..5 {
        let mut agent = freeze(&uid, &[]).await;
        until(async || container.is_frozen().then_some(())).await;
        agent.signal(Signal::SIGKILL);
        agent.exit().await;
        container.runs().await;
    }
}

#[tokio::test]
async fn an_agent_without_its_watcher_undoes_its_harm_and_fails() {
    let uid = uid();
    let container = Container::start(&uid).await;
    let mut agent = freeze(&uid, &[]).await;
    until(async || container.is_frozen().then_some(())).await;
    kill(watcher(&agent), Signal::SIGKILL).unwrap();
    assert!(!agent.exit().await.success());
    container.runs().await;
}

#[tokio::test]
async fn a_watcher_is_not_ended_by_signals_that_end_agents() {
    let uid = uid();
    let container = Container::start(&uid).await;
    let mut agent = freeze(&uid, &[]).await;
    until(async || container.is_frozen().then_some(())).await;
    let watcher = watcher(&agent);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(watcher, signal).unwrap();
    }
    agent.signal(Signal::SIGTERM);
    agent.ended().await;
    assert!(agent.exit().await.success(), "it had a watcher to the end");
    container.runs().await;
}

#[tokio::test]
async fn a_container_that_is_started_anew_runs() {
    let uid = uid();
    let first = Container::start(&uid).await;
    let mut agent = freeze(&uid, &[]).await;
    let second = Container::start(&uid).await;
    second.runs().await;
    assert!(first.is_frozen());
    agent.signal(Signal::SIGTERM);
    agent.ended().await;
    assert!(agent.exit().await.success());
    first.runs().await;
}

#[tokio::test]
async fn a_flapping_pod_s_container_that_starts_later_is_stopped_too() {
    let uid = uid();
    let first = Container::start(&uid).await;
    let mut agent = freeze(&uid, &["--down", "60s", "--up", "1s"]).await;
    let second = Container::start(&uid).await;
    until(async || (first.is_frozen() && second.is_frozen()).then_some(())).await;
    agent.signal(Signal::SIGKILL);
    agent.exit().await;
    first.runs().await;
    second.runs().await;
}

#[tokio::test]
async fn a_pod_can_flap() {
    let uid = uid();
    let container = Container::start(&uid).await;
    let mut agent = freeze(&uid, &["--down", "200ms", "--up", "200ms"]).await;
    agent
        .until_evidence(|evidence| evidence["resumptions"].as_u64() >= Some(2))
        .await;
    until(async || container.is_frozen().then_some(())).await;
    container.runs().await;
    agent.signal(Signal::SIGTERM);
    agent.ended().await;
    assert!(agent.exit().await.success());
    container.runs().await;
}

#[tokio::test]
async fn an_agent_that_comes_after_its_time_undoes_what_is_left() {
    let uid = uid();
    let container = Container::start(&uid).await;
    let stopped = container.below()[0];
    kill(Pid::from_raw(stopped), Signal::SIGSTOP).unwrap();
    until(async || is_stopped(stopped).then_some(())).await;
    let output = run(&[&words(&uid)[..], &["--until", "1"]].concat()).await;
    assert!(output.status.success(), "{output:?}");
    assert!(!is_stopped(stopped));
}

#[tokio::test]
async fn without_processes_there_is_nothing_to_be_stopped() {
    let (uid, until) = (uid(), in_seconds(60));
    let output = run(&[&words(&uid)[..], &["--until", &until]].concat()).await;
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("hostPID") && said.contains(&uid), "{said}");
}

#[tokio::test]
async fn an_agent_does_not_stop_itself() {
    let (uid, until) = (uid(), in_seconds(60));
    let agent = env!("CARGO_BIN_EXE_holdfast-agent-runner");
    let line = format!(
        "{agent} freeze --pod-uid {uid} --pod-name app --until {until} --status-port 0; exit $?"
    );
    let output = Command::new("/bin/sh")
        .args(["-c", &line])
        .env("HOLDFAST_POD_UID", &uid)
        .env("BIND_ADDR", "127.0.0.1")
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the agent's own"), "{said}");
}
