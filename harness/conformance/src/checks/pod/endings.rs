//! How a pod that is deleted ends.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::stage::{NEWS, PATIENCE, Subject, in_seconds, line, phase};
use crate::check::{Finding, Shortfall, failed, verdict};
use crate::context::{Context, readiness_probe};
use crate::journal::Change;

/// How exactly grace periods are kept.
const TOLERANCE: Duration = Duration::from_secs(1);

/// A running victim with these arguments, hook (if any) and grace period.
async fn start(
    context: &Context,
    arguments: &[&str],
    hook: Value,
    grace: u32,
) -> Result<Subject, Shortfall> {
    let mut container = context.victim(arguments);
    container["readinessProbe"] = readiness_probe();
    if !hook.is_null() {
        container["lifecycle"] = json!({"preStop": hook});
    }
    let changes = json!({"terminationGracePeriodSeconds": grace});
    let pod = Subject::create(context, "app", container, changes).await?;
    pod.until_ready().await?;
    Ok(pod)
}

pub(super) async fn no_handler(context: Context) -> Finding {
    let pod = start(&context, &["--on-term", "none"], Value::Null, 5).await?;
    let asked = pod.delete().await?;
    let (ended, how) = pod.end().await?;
    let after = ended.duration_since(asked);
    let latest = Duration::from_secs(5) + context.bounds.epsilon;
    // The grace period is counted from a time of whole seconds.
    let earliest = Duration::from_secs(5) - TOLERANCE;
    verdict(
        (earliest..=latest).contains(&after) && how.exit_code == 137,
        format!(
            "ended after {}, exit code {}",
            in_seconds(after),
            how.exit_code
        ),
    )
}

pub(super) async fn handler_exits(context: Context) -> Finding {
    let pod = start(&context, &["--on-term", "exit"], Value::Null, 30).await?;
    let asked = pod.delete().await?;
    let gone = deleted(&pod).await?;
    let took = gone.duration_since(asked);
    let last = phase(&*pod.latest()?).to_owned();
    verdict(
        took <= context.bounds.epsilon && last == "Succeeded",
        format!("gone after {}, last phase {last}", in_seconds(took)),
    )
}

/// When the watch told that the pod is gone.
async fn deleted(pod: &Subject) -> Result<Instant, Shortfall> {
    pod.journal
        .until("the pod is gone", PATIENCE, |entries| {
            let entry = entries.iter().find(|entry| entry.change == Change::Deleted);
            Some(entry?.at)
        })
        .await
}

/// When SIGTERM came after the request, and SIGKILL after SIGTERM.
async fn signals(pod: &Subject) -> Result<(Duration, Duration), Shortfall> {
    let transcript = pod.transcript();
    line(&transcript, "start").await?;
    let asked = pod.delete().await?;
    let sigterm = line(&transcript, "sigterm").await?;
    let lines = transcript.to_end(PATIENCE).await?;
    // Signs of life are written ten times a second.
    let last = lines.last().ok_or_else(|| failed("the log is empty"))?;
    let survived = last.written.saturating_sub(sigterm.written);
    Ok((sigterm.at.duration_since(asked), survived))
}

fn about(time: Duration, wanted: u64) -> bool {
    let wanted = Duration::from_secs(wanted);
    (wanted.saturating_sub(TOLERANCE)..=wanted + TOLERANCE).contains(&time)
}

/// Like [`about`], for a moment that was heard of through a log.
fn told_about(time: Duration, wanted: u64) -> bool {
    about(time, wanted) || about(time.saturating_sub(NEWS), wanted)
}

pub(super) async fn hook_within_grace(context: Context) -> Finding {
    let hook = json!({"sleep": {"seconds": 3}});
    let pod = start(&context, &["--on-term", "ignore"], hook, 10).await?;
    let (sigterm, survived) = signals(&pod).await?;
    verdict(
        told_about(sigterm, 3) && about(survived, 7),
        format!(
            "SIGTERM at {}, SIGKILL at {}",
            in_seconds(sigterm),
            in_seconds(sigterm + survived)
        ),
    )
}

pub(super) async fn hook_uses_up_grace(context: Context) -> Finding {
    let hook = json!({"sleep": {"seconds": 5}});
    let pod = start(&context, &["--on-term", "ignore"], hook, 5).await?;
    let (sigterm, survived) = signals(&pod).await?;
    let killed = sigterm + survived;
    verdict(
        told_about(killed, 7),
        format!(
            "SIGTERM at {}, SIGKILL at {}",
            in_seconds(sigterm),
            in_seconds(killed)
        ),
    )
}

pub(super) async fn hook_fails(context: Context) -> Finding {
    let hook = json!({"exec": {"command": ["/there/is/no/such/program"]}});
    let pod = start(&context, &["--on-term", "exit"], hook, 30).await?;
    let transcript = pod.transcript();
    line(&transcript, "start").await?;
    pod.delete().await?;
    line(&transcript, "sigterm").await?;
    pod.event("FailedPreStopHook").await?;
    Ok("FailedPreStopHook, and SIGTERM all the same".to_owned())
}

pub(super) async fn deletion_times(context: Context) -> Finding {
    let pod = start(&context, &["--on-term", "ignore"], Value::Null, 30).await?;
    // A second pod tells the server's time without a comparison of clocks.
    let clock = context.pod("clock", context.victim(&[]), json!({}));
    let clock = context.create::<Pod>(clock).await?;
    let now = clock.metadata.creation_timestamp.as_ref();
    let now = now
        .ok_or_else(|| failed("a pod without creationTimestamp"))?
        .0;
    let delete = async |grace: u32| -> Result<Time, Shortfall> {
        let parameters = DeleteParams::default().grace_period(grace);
        let api = context.api::<Pod>();
        api.delete(&pod.name, &parameters).await?;
        let pod = api.get(&pod.name).await?;
        let time = pod.metadata.deletion_timestamp;
        time.ok_or_else(|| failed("no deletionTimestamp"))
    };
    let first = delete(20).await?;
    let longer = delete(60).await?;
    let shorter = delete(5).await?;
    let ahead = first.0.duration_since(now).as_secs();
    let holds = (19..=21).contains(&ahead) && longer == first && shorter < first;
    verdict(
        holds,
        format!(
            "20 s of grace: {ahead} s ahead; then 60 s: {}; then 5 s: {}",
            compared(&longer, &first),
            compared(&shorter, &first)
        ),
    )
}

fn compared(time: &Time, to: &Time) -> &'static str {
    match time.cmp(to) {
        std::cmp::Ordering::Less => "sooner",
        std::cmp::Ordering::Equal => "unchanged",
        std::cmp::Ordering::Greater => "later",
    }
}

pub(super) async fn order_of_events(context: Context) -> Finding {
    let pod = start(&context, &["--on-term", "exit"], Value::Null, 30).await?;
    pod.delete().await?;
    deleted(&pod).await?;
    let entries = pod.journal.entries();
    let deleting = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    let mut steps: Vec<&str> = entries
        .iter()
        .filter(|entry| deleting(&entry.object))
        .map(|entry| match (entry.change, phase(&entry.object)) {
            (Change::Added, _) => "ADDED",
            (Change::Modified, "Succeeded" | "Failed") => "MODIFIED(terminal)",
            (Change::Modified, _) => "MODIFIED",
            (Change::Deleted, _) => "DELETED",
        })
        .collect();
    steps.dedup();
    verdict(
        steps == ["MODIFIED", "MODIFIED(terminal)", "DELETED"],
        steps.join(", "),
    )
}

pub(super) async fn force(context: Context) -> Finding {
    // The node hears only that the pod is gone, and ends it with the pod's own grace period.
    let grace = Duration::from_secs(5);
    let pod = start(&context, &["--on-term", "ignore"], Value::Null, 5).await?;
    let transcript = pod.transcript();
    line(&transcript, "start").await?;
    let asked = Instant::now();
    let api = context.api::<Pod>();
    api.delete(&pod.name, &DeleteParams::default().grace_period(0))
        .await?;
    let gone = api.get_opt(&pod.name).await?.is_none();
    let lines = transcript.to_end(PATIENCE).await?;
    let told = lines.iter().any(|line| line.words == "sigterm");
    let last = lines.last().map_or(asked, |line| line.at);
    let after = last.saturating_duration_since(asked);
    let in_its_time = (grace - TOLERANCE..=grace + context.bounds.epsilon + NEWS).contains(&after);
    verdict(
        gone && told && in_its_time,
        format!(
            "object {}, the process {} and was last heard of after {}",
            if gone { "gone at once" } else { "still there" },
            if told {
                "got SIGTERM"
            } else {
                "got no SIGTERM"
            },
            in_seconds(after)
        ),
    )
}
