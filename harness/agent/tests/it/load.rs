//! Processors and memory.

use std::fs;

use nix::sys::signal::Signal;

use super::agent::{Agent, in_seconds};

#[tokio::test]
async fn workers_use_their_share_of_a_processor_and_no_more() {
    let mut agent = Agent::start(&["cpu", "--workers", "2", "--load", "25%"]).await;
    let number = |value: &serde_json::Value, name: &str| value[name].as_f64().unwrap();
    // However long a busy machine takes for that.
    let evidence = agent
        .until_evidence(|evidence| number(evidence, "processorSeconds") >= 0.5)
        .await;
    let elapsed = number(&evidence, "elapsedSeconds");
    // What the workers may be late with is in their budget, what the agent needs for itself is not.
    let most = 2.0 * 0.25 * elapsed + 0.3;
    let used = number(&evidence, "processorSeconds");
    assert!(used <= most, "{used} s in {elapsed} s");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended().await["active"], false);
    assert!(agent.exit().await.success());
}

#[tokio::test]
async fn workers_end_by_themselves() {
    let words = ["cpu", "--workers", "1", "--load", "5%"];
    let mut agent = Agent::until(&in_seconds(1), &words).await;
    agent.ended().await;
    assert!(agent.exit().await.success());
}

/// The memory that a process really has.
fn resident(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn memory_is_really_there() {
    const BYTES: usize = 80 << 20;
    let mut agent = Agent::start(&["memory", "--bytes", "80Mi"]).await;
    assert!(resident(agent.pid()) >= BYTES);
    assert_eq!(agent.evidence().await["heldBytes"], BYTES);
    let adjustment = fs::read_to_string(format!("/proc/{}/oom_score_adj", agent.pid())).unwrap();
    assert_eq!(adjustment.trim(), "1000", "the kernel begins with it");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended().await["evidence"]["heldBytes"], 0);
    assert!(agent.exit().await.success());
}
