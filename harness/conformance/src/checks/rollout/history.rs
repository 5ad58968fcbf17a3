//! What is remembered of earlier revisions.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt as _;
use kube::api::PostParams;
use serde_json::json;

use super::stage::{PATIENCE, Rollout, revision};
use crate::check::{Finding, failed, verdict};
use crate::context::Context;
use crate::journal::states;

pub(super) async fn undo(context: Context) -> Finding {
    let rollout = Rollout::complete(&context, &[], json!({"replicas": 1})).await?;
    let first = rollout.sets_now().await?;
    let first = first
        .first()
        .ok_or_else(|| failed("a complete Deployment without a ReplicaSet"))?;
    rollout.release(2, &[]).await?;
    rollout.until_complete().await?;
    let deployments = context.api::<Deployment>();
    // kubectl takes the template from the ReplicaSet, without the label that the controller added.
    let mut template = template_of(first);
    if let Some(labels) = template
        .metadata
        .as_mut()
        .and_then(|meta| meta.labels.as_mut())
    {
        labels.remove("pod-template-hash");
    }
    let mut deployment = deployments.get(&rollout.name).await?;
    if let Some(spec) = deployment.spec.as_mut() {
        spec.template = template;
    }
    // The controller may write the status in between, and a stale write is a conflict.
    deployment.metadata.resource_version = None;
    deployments
        .replace(&rollout.name, &PostParams::default(), &deployment)
        .await?;
    rollout.until_complete().await?;
    let sets = rollout.sets_now().await?;
    let current = sets.last().map(|set| (set.name_any(), revision(set)));
    let reused = current.as_ref() == Some(&(first.name_any(), 3)) && sets.len() == 2;
    let (name, number) = current.unwrap_or_default();
    verdict(
        reused,
        format!(
            "{} ReplicaSets; {name} is revision {number} (v1 was {})",
            sets.len(),
            first.name_any()
        ),
    )
}

fn template_of(set: &ReplicaSet) -> k8s_openapi::api::core::v1::PodTemplateSpec {
    let spec = set.spec.as_ref();
    let template = spec.and_then(|spec| spec.template.clone());
    template.unwrap_or_default()
}

pub(super) async fn limit(context: Context) -> Finding {
    let spec = json!({"replicas": 1, "revisionHistoryLimit": 2});
    let rollout = Rollout::complete(&context, &[], spec).await?;
    for version in 2..=12_u32 {
        rollout.release(version, &[]).await?;
        // The next one must not overtake the controller, or there is no ReplicaSet for this one.
        let made = format!("revision {version} has a ReplicaSet");
        rollout
            .sets
            .until(&made, PATIENCE, |entries| {
                let mut sets = entries.iter();
                sets.any(|entry| revision(&entry.object) == u64::from(version))
                    .then_some(())
            })
            .await?;
    }
    rollout.until_complete().await?;
    let kept = rollout
        .sets
        .until("2 old ReplicaSets are left", PATIENCE, |entries| {
            let (_, sets) = states(entries).last()?;
            let mut revisions: Vec<u64> = sets.values().map(|set| revision(set)).collect();
            revisions.sort_unstable();
            (revisions.len() == 3).then_some(revisions)
        })
        .await?;
    verdict(
        kept == [10, 11, 12],
        format!("the revisions {kept:?} are kept"),
    )
}
