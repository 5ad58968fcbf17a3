//! When an autoscaler acts, and how far it goes.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::json;
use tokio::time::sleep;

use super::measured;
use super::stage::{PATIENCE, TURN, TWO_DECISIONS, autoscale, burning, changed, deploy, replicas};
use crate::check::{Finding, failed, verdict};
use crate::context::{Context, is_ready, readiness_probe};
use crate::kubectl;
use crate::value::merged;

/// How long an autoscaler remembers its highest recommendation.
const WINDOW: Duration = Duration::from_secs(300);
/// How long a pod works: long enough to be measured and answered.
const BUSY: Duration = Duration::from_secs(75);

pub(super) async fn out(context: Context) -> Finding {
    measured::needed(&context).await?;
    let container = burning(&context, 26, 30, &[]);
    let deployments = deploy(&context, "app", container, 1).await?;
    let pods = context.journal::<Pod>("app").await?;
    autoscale(&context, "app", 10, 50).await?;
    let ready = pods
        .until("a pod is ready", PATIENCE, |entries| {
            let mut entries = entries.iter();
            Some(entries.find(|entry| is_ready(&entry.object))?.at)
        })
        .await?;
    let (at, replicas) = changed(&deployments, 1, PATIENCE).await?;
    let after = at.duration_since(ready);
    verdict(
        replicas == 2 && after <= Duration::from_secs(60) + context.bounds.epsilon,
        format!(
            "{replicas} replicas after {:.0} s of readiness",
            after.as_secs_f64()
        ),
    )
}

pub(super) async fn stabilization(context: Context) -> Finding {
    measured::needed(&context).await?;
    let rest = format!("{}s", BUSY.as_secs());
    let container = burning(&context, 26, 30, &["--burn-until", &rest]);
    let deployments = deploy(&context, "app", container, 1).await?;
    autoscale(&context, "app", 2, 50).await?;
    let autoscalers = context.journal::<HorizontalPodAutoscaler>("app").await?;
    let (grown, _) = changed(&deployments, 1, PATIENCE).await?;
    let scaled_in = deployments
        .until("1 replica again", BUSY + WINDOW + PATIENCE, |entries| {
            let mut later = entries.iter().filter(|entry| entry.at > grown);
            Some(later.find(|entry| replicas(&entry.object) == 1)?.at)
        })
        .await?;
    // A decision that tells nothing new leaves no trace: the last one under load was a turn before
    // the first without.
    let entries = autoscalers.entries();
    let idle = entries
        .iter()
        .rev()
        .take_while(|entry| utilization(&entry.object).is_none_or(|percent| percent <= 25))
        .last();
    let idle = idle.ok_or_else(|| failed("scaled in under load"))?.at;
    let after = scaled_in.duration_since(idle) + TURN;
    verdict(
        after + context.bounds.epsilon >= WINDOW,
        format!(
            "scaled in {:.0} s after the last decision under load",
            after.as_secs_f64()
        ),
    )
}

/// What the autoscaler saw when it decided last, in percent.
fn utilization(autoscaler: &HorizontalPodAutoscaler) -> Option<i32> {
    let metric = autoscaler.status.as_ref()?.current_metrics.as_ref()?;
    let metric = metric.first()?.resource.as_ref()?;
    metric.current.average_utilization
}

pub(super) async fn no_request(context: Context) -> Finding {
    measured::needed(&context).await?;
    deploy(&context, "app", context.victim(&[]), 1).await?;
    // Before that the reason is the same, and another one: nothing has been measured.
    measured::until_settled(&context, "app", 1).await?;
    let name = autoscale(&context, "app", 3, 50).await?.name_any();
    let told = |autoscaler: Option<&HorizontalPodAutoscaler>| {
        autoscaler.is_some_and(|autoscaler| scaling_active(autoscaler).is_some())
    };
    let autoscaler = context
        .until(&name, "ScalingActive is told", PATIENCE, told)
        .await?;
    let condition = scaling_active(&autoscaler).ok_or_else(|| failed("no condition"))?;
    let reason = condition.reason.clone().unwrap_or_default();
    let as_expected = condition.status == "False" && reason == "FailedGetResourceMetric";
    let observed = format!("ScalingActive={} {reason}", condition.status);
    if !as_expected {
        return Err(failed(observed));
    }
    let shown = kubectl::run(&context, &["get", "hpa", &autoscaler.name_any()]).await?;
    let unknown = shown.out.contains("<unknown>/50%");
    let words = if unknown { "<unknown>/50%" } else { &shown.out };
    verdict(unknown, format!("{observed}; kubectl shows {words}"))
}

fn scaling_active(
    autoscaler: &HorizontalPodAutoscaler,
) -> Option<&HorizontalPodAutoscalerCondition> {
    let conditions = autoscaler.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "ScalingActive")
}

pub(super) async fn no_overshoot(context: Context) -> Finding {
    measured::needed(&context).await?;
    // One pod's load is enough for 8; the others are not ready before the check is over.
    let container = merged(
        burning(&context, 36, 10, &["--ready", "50s.."]),
        json!({"readinessProbe": readiness_probe()}),
    );
    let deployments = deploy(&context, "app", container, 1).await?;
    autoscale(&context, "app", 20, 50).await?;
    changed(&deployments, 1, PATIENCE).await?;
    sleep(TWO_DECISIONS).await;
    let mut steps: Vec<i32> = Vec::new();
    for entry in deployments.entries() {
        let now = replicas(&entry.object);
        if steps.last() != Some(&now) {
            steps.push(now);
        }
    }
    let within = steps.windows(2).all(|step| step[1] <= (2 * step[0]).max(4));
    let last = steps.last().copied().unwrap_or_default();
    verdict(
        within && steps.len() > 1 && last <= 8,
        format!("steps {steps:?}"),
    )
}
