//! When a container that ended is started again.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::stage::{PATIENCE, Subject, phase, restarts, runs, waiting};
use crate::check::{Finding, verdict};
use crate::context::Context;

/// The pauses after the first failures, in seconds.
const PAUSES: [i64; 4] = [0, 10, 20, 40];

pub(super) async fn back_off(context: Context) -> Finding {
    let container = context.victim(&["--exit-after", "200ms", "--exit-code", "1"]);
    let pod = Subject::create(&context, "app", container, json!({})).await?;
    let all: i64 = PAUSES.iter().map(|pause| latest(*pause)).sum();
    let within = Duration::from_secs(all.unsigned_abs());
    let runs = pod
        .journal
        .until("the container has run five times", within, |entries| {
            Some(runs(entries)).filter(|runs| runs.len() > PAUSES.len())
        })
        .await?;
    let gaps: Vec<i64> = runs
        .windows(2)
        .map(|pair| pair[1].0.duration_since(pair[0].1))
        .map(|gap: SignedDuration| gap.as_secs())
        .collect();
    // Times of whole seconds: a gap may seem one shorter.
    let as_expected = |(gap, pause): (&i64, i64)| (pause - 1..=latest(pause)).contains(gap);
    let shown: Vec<String> = gaps.iter().map(i64::to_string).collect();
    verdict(
        gaps.iter().zip(PAUSES).all(as_expected),
        format!("gaps of {} s", shown.join(", ")),
    )
}

fn latest(pause: i64) -> i64 {
    pause + pause / 2 + 15
}

pub(super) async fn policies(context: Context) -> Finding {
    let start = async |part: &'static str, policy: &'static str| {
        let container = context.victim(&["--exit-after", "200ms"]);
        let changes = json!({"restartPolicy": policy});
        Subject::create(&context, part, container, changes).await
    };
    let always = start("always", "Always").await?;
    let on_failure = start("on-failure", "OnFailure").await?;
    on_failure
        .moment("the pod has succeeded", |pod| phase(pod) == "Succeeded")
        .await?;
    let backs_off = |pod: &_| waiting(pod) == Some("CrashLoopBackOff");
    always.moment("it backs off", backs_off).await?;
    always
        .journal
        .until("it is restarted twice", PATIENCE, |entries| {
            entries.iter().find(|entry| restarts(&entry.object) == 2)?;
            Some(())
        })
        .await?;
    let once = restarts(&*on_failure.latest()?);
    verdict(
        once == 0,
        format!("Always: restarted with CrashLoopBackOff; OnFailure: Succeeded, {once} restarts"),
    )
}
