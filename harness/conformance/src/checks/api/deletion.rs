//! What becomes of what a Deployment owns when it is deleted.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::json;
use tokio::time::sleep;

use crate::check::{Finding, Shortfall, verdict};
use crate::context::{Context, is_ready};

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn propagation(context: Context) -> Finding {
    let background = delete(&context, "background", PropagationPolicy::Background);
    let orphan = delete(&context, "orphan", PropagationPolicy::Orphan);
    let (background, orphan) = tokio::try_join!(background, orphan)?;
    verdict(
        background == (0, 0, 0) && orphan == (1, 2, 0),
        format!(
            "Background leaves {} ReplicaSet and {} pods, Orphan {} and {}, {} with an owner that is gone",
            background.0, background.1, orphan.0, orphan.1, orphan.2
        ),
    )
}

/// How many ReplicaSets and pods are left, and how many ReplicaSets of these still name an owner.
async fn delete(
    context: &Context,
    part: &str,
    policy: PropagationPolicy,
) -> Result<(usize, usize, usize), Shortfall> {
    let object = context.deployment(part, context.victim(&[]), json!({"replicas": 2}));
    let name = context.create::<Deployment>(object).await?.name_any();
    let pods = context.journal::<Pod>(part).await?;
    pods.until("2 pods are ready", PATIENCE, |entries| {
        let (_, pods) = crate::journal::states(entries).last()?;
        let ready = pods.values().filter(|pod| is_ready(pod)).count();
        (ready == 2).then_some(())
    })
    .await?;
    let orphans = matches!(policy, PropagationPolicy::Orphan);
    let parameters = DeleteParams {
        propagation_policy: Some(policy),
        ..DeleteParams::default()
    };
    let deployments = context.api::<Deployment>();
    deployments.delete(&name, &parameters).await?;
    context.until_gone::<Deployment>(&name, PATIENCE).await?;
    if orphans {
        // Long enough for a collector that takes too much to do so.
        sleep(context.bounds.epsilon).await;
    } else {
        pods.until("all pods are gone", PATIENCE, |entries| {
            let (_, pods) = crate::journal::states(entries).last()?;
            pods.is_empty().then_some(())
        })
        .await?;
    }
    let sets = context.list::<ReplicaSet>(part).await?;
    let owned = sets.iter().filter(|set| !set.owner_references().is_empty());
    let owned = owned.count();
    let pods = context.list::<Pod>(part).await?;
    Ok((sets.len(), pods.len(), owned))
}
