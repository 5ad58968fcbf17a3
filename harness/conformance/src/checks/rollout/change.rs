//! What a change of a Deployment, or of what it owns, sets off.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::json;
use tokio::time::sleep;

use super::stage::{PATIENCE, Rollout, hash, is_terminal, replicas};
use crate::check::{Finding, failed, verdict};
use crate::context::Context;
use crate::journal::{Change, states};

pub(super) async fn pause(context: Context) -> Finding {
    let rollout = Rollout::complete(&context, &[], json!({"replicas": 2})).await?;
    rollout.patch(json!({"paused": true})).await?;
    rollout.release(2, &[]).await?;
    sleep(context.bounds.epsilon).await;
    let while_paused = rollout.sets_now().await?.len();
    rollout.patch(json!({"paused": false})).await?;
    rollout.until_complete().await?;
    let after = rollout.sets_now().await?.len();
    verdict(
        while_paused == 1 && after == 2,
        format!("{while_paused} ReplicaSet while paused, {after} after resume, complete"),
    )
}

pub(super) async fn recreate(context: Context) -> Finding {
    let spec = json!({"replicas": 2, "strategy": {"type": "Recreate", "rollingUpdate": null}});
    // A pod that takes its time to end shows whether it is waited for.
    let rollout = Rollout::complete(&context, &["--on-term", "ignore"], spec).await?;
    rollout.release(2, &[]).await?;
    rollout.until_complete().await?;
    let entries = rollout.pods.entries();
    let old = entries.first().map(|entry| hash(&entry.object));
    let overlapping = states(&entries).any(|(_, pods)| {
        let live: BTreeSet<bool> = pods
            .values()
            .filter(|pod| !is_terminal(pod))
            .map(|pod| Some(hash(pod)) == old)
            .collect();
        live.len() > 1
    });
    let observed = if overlapping {
        "old and new pods were live at once"
    } else {
        "old and new pods were never live at once"
    };
    verdict(!overlapping, observed)
}

pub(super) async fn proportional_scaling(context: Context) -> Finding {
    let strategy = json!({"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    let spec = json!({"replicas": 10, "strategy": strategy});
    let rollout = Rollout::complete(&context, &[], spec).await?;
    rollout.release(2, &["--ready", "never"]).await?;
    // With 3 more and 2 fewer, the rollout is stuck at 8 old pods and 5 new ones.
    let sizes = |entries: &[crate::journal::Entry<_>]| {
        let (_, sets) = states(entries).last()?;
        let mut sizes: Vec<i32> = sets.values().map(|set| replicas(set)).collect();
        sizes.sort_unstable();
        Some(sizes)
    };
    let stuck = "8 old pods and 5 new ones";
    rollout
        .sets
        .until(stuck, PATIENCE, |entries| {
            (sizes(entries)? == [5, 8]).then_some(())
        })
        .await?;
    rollout.patch(json!({"replicas": 20})).await?;
    let grown = rollout
        .sets
        .until("both ReplicaSets grow", PATIENCE, |entries| {
            let sizes = sizes(entries)?;
            (sizes[0] > 5 && sizes[1] > 8 && sizes.iter().sum::<i32>() >= 25).then_some(sizes)
        })
        .await?;
    let most = rollout.largest_sum();
    verdict(
        most <= 25,
        format!("from [5, 8] to {grown:?}, at most {most} in all"),
    )
}

pub(super) async fn annotation(context: Context) -> Finding {
    let rollout = Rollout::complete(&context, &[], json!({"replicas": 1})).await?;
    let deployments = context.api::<Deployment>();
    let before = deployments.get(&rollout.name).await?;
    let change = json!({"metadata": {"annotations": {"example.com/note": "changed"}}});
    let after = context.patch::<Deployment>(&rollout.name, change).await?;
    sleep(context.bounds.epsilon).await;
    let sets = rollout.sets_now().await?.len();
    let generations = [before, after].map(|it| it.metadata.generation.unwrap_or(0));
    verdict(
        generations[1] == generations[0] + 1 && sets == 1,
        format!(
            "generation {} → {}, {sets} ReplicaSet",
            generations[0], generations[1]
        ),
    )
}

pub(super) async fn deleted_pod(context: Context) -> Finding {
    // It ignores SIGTERM, so that its object stays for the grace period.
    let arguments = ["--on-term", "ignore"];
    let rollout = Rollout::complete(&context, &arguments, json!({"replicas": 1})).await?;
    let pods = rollout.pods.entries();
    let old = pods
        .first()
        .ok_or_else(|| failed("a complete Deployment without a pod"))?;
    let old = old.object.name_any();
    let asked = tokio::time::Instant::now();
    context.delete::<Pod>(&old).await?;
    let (made, gone) = rollout
        .pods
        .until("the old pod is gone", PATIENCE, |entries| {
            let gone = entries.iter().position(|entry| {
                entry.change == Change::Deleted && entry.object.name_any() == old
            })?;
            let made = entries
                .iter()
                .position(|entry| entry.object.name_any() != old);
            Some((made.map(|index| (index, entries[index].at)), gone))
        })
        .await?;
    let Some((made, at)) = made else {
        return Err(failed("no replacement before the old object was gone"));
    };
    let after = at.duration_since(asked);
    verdict(
        made < gone && after <= context.bounds.epsilon,
        format!(
            "replacement after {:.2} s, old object gone later",
            after.as_secs_f64()
        ),
    )
}
