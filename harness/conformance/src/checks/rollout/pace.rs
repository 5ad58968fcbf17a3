//! When something happens during a rollout.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::stage::{PATIENCE, Rollout, available, replicas};
use crate::check::{Finding, Shortfall, failed, verdict};
use crate::context::{Context, is_ready};
use crate::journal::{Entry, states};
use crate::kubectl;

/// The API's times are whole seconds, rounded down: what is counted from them may come so much
/// early.
const RESOLUTION: Duration = Duration::from_secs(1);

pub(super) async fn min_ready_seconds(context: Context) -> Finding {
    let spec = json!({"replicas": 1, "minReadySeconds": 5});
    let rollout = Rollout::begin(&context, &[], spec).await?;
    let became_available = rollout
        .deployments
        .until("a pod is available", PATIENCE, |entries| {
            let entry = entries.iter().find(|entry| available(&entry.object) == 1);
            entry.map(|entry| entry.at)
        })
        .await?;
    let became_ready = rollout
        .pods
        .until("the pod is ready", PATIENCE, |entries| {
            let entry = entries.iter().find(|entry| is_ready(&entry.object));
            entry.map(|entry| entry.at)
        })
        .await?;
    let after = became_available.duration_since(became_ready);
    let wanted = Duration::from_secs(5);
    let latest = wanted + Duration::from_secs(1) + context.bounds.epsilon;
    verdict(
        (wanted - RESOLUTION..=latest).contains(&after),
        format!("available {:.1} s after Ready", after.as_secs_f64()),
    )
}

pub(super) async fn progress_deadline(context: Context) -> Finding {
    let spec = json!({"replicas": 1, "progressDeadlineSeconds": 10});
    let rollout = Rollout::complete(&context, &[], spec).await?;
    rollout.release(2, &["--ready", "never"]).await?;
    let (last_progress, exceeded) = rollout
        .deployments
        .until("ProgressDeadlineExceeded", PATIENCE, deadline)
        .await?;
    let after = exceeded.duration_since(last_progress);
    let wanted = Duration::from_secs(10);
    let latest = wanted + Duration::from_secs(1) + context.bounds.epsilon;
    let in_time = (wanted - RESOLUTION..=latest).contains(&after);
    let status = status_exits(&context, &rollout.name).await?;
    sleep(context.bounds.epsilon).await;
    let sets = rollout.sets_now().await?;
    let sizes: Vec<i32> = sets.iter().map(replicas).collect();
    let observed = format!(
        "exceeded after {:.1} s, {}, old and new ReplicaSet of {sizes:?}",
        after.as_secs_f64(),
        match status {
            Some(code) => format!("rollout status exits {code}"),
            None => "no kubectl to ask for the status".to_owned(),
        },
    );
    verdict(
        in_time && status.is_none_or(|code| code == 1) && sizes == [1, 1],
        observed,
    )
}

/// When the last progress was told, and when that the deadline is exceeded.
fn deadline(entries: &[Entry<Deployment>]) -> Option<(Instant, Instant)> {
    let mut last_progress = None;
    let mut last_update = None;
    for entry in entries {
        let Some(condition) = progressing(&entry.object) else {
            continue;
        };
        if condition.status == "False" {
            return (condition.reason.as_deref() == Some("ProgressDeadlineExceeded"))
                .then_some((last_progress?, entry.at));
        }
        if condition.last_update_time != last_update {
            last_update.clone_from(&condition.last_update_time);
            last_progress = Some(entry.at);
        }
    }
    None
}

fn progressing(deployment: &Deployment) -> Option<&DeploymentCondition> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Progressing")
}

/// What `kubectl rollout status` exits with, where there is a kubectl.
async fn status_exits(context: &Context, name: &str) -> Result<Option<i32>, Shortfall> {
    if context.kubectl.is_none() {
        return Ok(None);
    }
    let target = format!("deployment/{name}");
    let ended = kubectl::run(context, &["rollout", "status", &target]).await?;
    Ok(Some(ended.code))
}

pub(super) async fn draining_pods(context: Context) -> Finding {
    let container = json!({
        "name": "victim",
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
    });
    let rollout = Rollout::complete(&context, &[], json!({"replicas": 3})).await?;
    let pod = json!({"terminationGracePeriodSeconds": 30, "containers": [container]});
    let change = json!({"spec": {"template": {"spec": pod}}});
    context
        .patch_strategically::<Deployment>(&rollout.name, change)
        .await?;
    rollout.until_complete().await?;
    rollout.release(3, &[]).await?;
    rollout.until_complete().await?;
    let entries = rollout.pods.entries();
    let most = states(&entries).map(|(_, pods)| {
        let live = pods.values();
        live.filter(|pod| !super::stage::is_terminal(pod)).count()
    });
    let most = most.max().ok_or_else(|| failed("there was never a pod"))?;
    verdict(most > 4, format!("up to {most} pods live at once"))
}
