//! When an autoscaler acts, and how far it goes.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::check::{Finding, Shortfall, failed, verdict};
use crate::context::{Context, readiness_probe};
use crate::journal::Journal;
use crate::kubectl;
use crate::value::merged;

/// Two measurements and a decision, each every 15 s, and a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long two decisions take, at least.
const TWO_DECISIONS: Duration = Duration::from_secs(32);
/// How long an autoscaler remembers its highest recommendation.
const WINDOW: Duration = Duration::from_secs(300);
/// How often an autoscaler decides: the window counts from its last decision under load.
const TURN: Duration = Duration::from_secs(15);

/// A Deployment with an autoscaler, and every change of it.
async fn scaled(
    context: &Context,
    part: &str,
    container: Value,
    (replicas, most, target): (u32, u32, u32),
) -> Result<Journal<Deployment>, Shortfall> {
    let object = context.deployment(part, container, json!({"replicas": replicas}));
    context.create::<Deployment>(object).await?;
    let deployments = context.journal::<Deployment>(part).await?;
    let metric = json!({
        "type": "Resource",
        "resource": {
            "name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": target},
        },
    });
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": context.name(part), "labels": context.labels(part)},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": context.name(part),
            },
            "minReplicas": 1,
            "maxReplicas": most,
            "metrics": [metric],
        },
    });
    context
        .create::<HorizontalPodAutoscaler>(autoscaler)
        .await?;
    Ok(deployments)
}

/// A victim that uses `burn` of `request` millicores.
fn burning(context: &Context, burn: u32, request: u32, more: &[&str]) -> Value {
    let burn = burn.to_string();
    let arguments = [&["--burn", &burn], more].concat();
    let request = json!({"resources": {"requests": {"cpu": format!("{request}m")}}});
    merged(context.victim(&arguments), request)
}

fn replicas(deployment: &Deployment) -> i32 {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

/// When the Deployment first had other replicas than `before`, and how many.
async fn changed(
    deployments: &Journal<Deployment>,
    before: i32,
    within: Duration,
) -> Result<(Instant, i32), Shortfall> {
    let what = format!("other than {before} replicas");
    deployments
        .until(&what, within, |entries| {
            let mut entries = entries.iter();
            let entry = entries.find(|entry| replicas(&entry.object) != before)?;
            Some((entry.at, replicas(&entry.object)))
        })
        .await
}

pub(super) async fn out(context: Context) -> Finding {
    let container = burning(&context, 95, 100, &[]);
    let deployments = scaled(&context, "app", container, (1, 10, 50)).await?;
    let begun = Instant::now();
    let (at, replicas) = changed(&deployments, 1, PATIENCE).await?;
    let after = at.duration_since(begun);
    verdict(
        replicas == 2 && after <= Duration::from_secs(60) + context.bounds.epsilon,
        format!("{replicas} replicas after {:.0} s", after.as_secs_f64()),
    )
}

pub(super) async fn tolerance(context: Context) -> Finding {
    // Twenty pods at work, on a machine that may have two processors.
    let below = burning(&context, 30, 28, &[]);
    let above = burning(&context, 32, 28, &[]);
    let below = scaled(&context, "below", below, (10, 20, 100)).await?;
    let above = scaled(&context, "above", above, (10, 20, 100)).await?;
    let (_, grown) = changed(&above, 10, PATIENCE).await?;
    let seen = |autoscaler: Option<&HorizontalPodAutoscaler>| {
        autoscaler.is_some_and(|autoscaler| utilization(autoscaler).is_some())
    };
    let name = context.name("below");
    let measured = context
        .until(&name, "a utilization is told", PATIENCE, seen)
        .await?;
    sleep(TWO_DECISIONS).await;
    let entries = below.entries();
    let kept = entries.last().map_or(0, |entry| replicas(&entry.object));
    verdict(
        grown == 12 && kept == 10,
        format!(
            "at {} % of the lower: {kept}; of the higher: {grown}",
            utilization(&measured).unwrap_or_default()
        ),
    )
}

fn utilization(autoscaler: &HorizontalPodAutoscaler) -> Option<i32> {
    let metrics = autoscaler.status.as_ref()?.current_metrics.as_ref()?;
    metrics
        .first()?
        .resource
        .as_ref()?
        .current
        .average_utilization
}

pub(super) async fn stabilization(context: Context) -> Finding {
    // Long enough to be measured and answered; the second pod rests last.
    let container = burning(&context, 95, 100, &["--burn-until", "75s"]);
    let deployments = scaled(&context, "app", container, (1, 2, 50)).await?;
    changed(&deployments, 1, PATIENCE).await?;
    let pods = context.journal::<Pod>("app").await?;
    let names = pods
        .until("2 pods run", PATIENCE, |entries| {
            let (_, pods) = crate::journal::states(entries).last()?;
            let names: Vec<String> = pods.keys().cloned().collect();
            (names.len() == 2).then_some(names)
        })
        .await?;
    let mut stopped = Instant::now();
    for name in names {
        let transcript = context.transcript(&name);
        let rests = |lines: &[crate::transcript::Line]| {
            let line = lines.iter().find(|line| line.words == "rest")?;
            Some(line.at)
        };
        let at = transcript.until("the load stops", PATIENCE, rests).await?;
        stopped = stopped.max(at);
    }
    let slack = Duration::from_secs(60);
    let scaled_in = deployments
        .until("1 replica again", WINDOW + slack, |entries| {
            let grown = entries
                .iter()
                .position(|entry| replicas(&entry.object) == 2)?;
            let mut later = entries[grown..].iter();
            let entry = later.find(|entry| replicas(&entry.object) == 1)?;
            Some(entry.at)
        })
        .await?;
    let after = scaled_in.duration_since(stopped);
    verdict(
        after + TURN >= WINDOW,
        format!(
            "scaled in {:.0} s after the load stopped",
            after.as_secs_f64()
        ),
    )
}

pub(super) async fn no_request(context: Context) -> Finding {
    let container = context.victim(&[]);
    scaled(&context, "app", container, (1, 3, 50)).await?;
    let name = context.name("app");
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
    // One pod's load is enough for 8; the others are not ready before the check is over.
    let container = merged(
        burning(&context, 38, 10, &["--ready", "50s.."]),
        json!({"readinessProbe": readiness_probe()}),
    );
    let deployments = scaled(&context, "app", container, (1, 20, 50)).await?;
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
