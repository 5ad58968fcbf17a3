//! How far a rolling update goes at each step.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use tokio::time::sleep;

use super::stage::{Rollout, first, hash, is_complete, replicas};
use crate::check::{Finding, Shortfall, failed, verdict};
use crate::context::{Context, is_ready};

pub(super) async fn bad_release(context: Context) -> Finding {
    let rollout = Rollout::complete(&context, &[], json!({"replicas": 4})).await?;
    rollout.release(2, &["--ready", "never"]).await?;
    // Long enough for a controller that goes too far to show it.
    sleep(Duration::from_secs(5) + context.bounds.epsilon).await;
    let sets = rollout.sets_now().await?;
    let new = sets.last().map_or(0, replicas);
    let available = rollout.fewest_available();
    let completed = rollout
        .deployments
        .entries()
        .iter()
        .any(|entry| entry.object.metadata.generation > Some(1) && is_complete(&entry.object));
    verdict(
        sets.len() == 2 && new == 2 && available >= 3 && !completed,
        format!(
            "{new} new pods, at least {available} available, {}",
            if completed {
                "complete"
            } else {
                "not complete"
            }
        ),
    )
}

pub(super) async fn quarter_and_quarter(context: Context) -> Finding {
    let strategy = json!({"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    let spec = json!({"replicas": 10, "strategy": strategy});
    let rollout = Rollout::complete(&context, &[], spec).await?;
    rollout.release(2, &[]).await?;
    rollout.until_complete().await?;
    let (most, fewest) = (rollout.largest_sum(), rollout.fewest_available());
    verdict(
        most <= 13 && fewest >= 8,
        format!("at most {most} in all, at least {fewest} available"),
    )
}

pub(super) async fn one_replica(context: Context) -> Finding {
    let rollout = Rollout::complete(&context, &[], json!({"replicas": 1})).await?;
    let entries = rollout.pods.entries();
    let old = entries.last().map(|entry| hash(&entry.object));
    let old = old.ok_or_else(|| failed("a complete Deployment without a pod"))?;
    rollout.release(2, &[]).await?;
    rollout.until_complete().await?;
    let leaves = "the old pod gets a deletionTimestamp";
    let (ready, left) = rollout
        .pods
        .until(leaves, super::stage::PATIENCE, |entries| {
            let left = first(entries, |pod| {
                hash(pod) == old && pod.metadata.deletion_timestamp.is_some()
            })?;
            let ready = first(entries, |pod| hash(pod) != old && is_ready(pod));
            Some((ready, left))
        })
        .await?;
    match ready {
        Some(ready) if ready < left => Ok("the new pod was Ready first".to_owned()),
        _ => Err(failed("the old pod was deleted first")),
    }
}

pub(super) async fn no_surge(context: Context) -> Finding {
    let strategy = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    let spec = json!({"replicas": 3, "strategy": strategy});
    let rollout = Rollout::complete(&context, &[], spec).await?;
    rollout.release(2, &[]).await?;
    rollout.until_complete().await?;
    let (most, fewest) = (rollout.largest_sum(), rollout.fewest_available());
    verdict(
        most <= 3,
        format!("at most {most} in all, at least {fewest} available"),
    )
}

pub(super) async fn fencepost(context: Context) -> Finding {
    let strategy = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}});
    let spec = json!({"replicas": 2, "strategy": strategy});
    let rollout = Rollout::complete(&context, &[], spec).await?;
    rollout.release(2, &[]).await?;
    rollout.until_complete().await?;
    let fewest = rollout.fewest_available();
    verdict(
        fewest == 1,
        format!("complete, at least {fewest} available"),
    )
}

pub(super) async fn no_room_to_roll(context: Context) -> Finding {
    let strategy = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}});
    let object = context.deployment("app", context.victim(&[]), json!({"strategy": strategy}));
    match context.create::<Deployment>(object).await {
        Ok(_) => Err(failed("it was accepted")),
        Err(Shortfall::Failed(observed)) => verdict(observed.starts_with("422 "), observed),
        Err(skipped @ Shortfall::Skipped(_)) => Err(skipped),
    }
}
