//! A Deployment that uses the processor, and an autoscaler for it.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::check::Shortfall;
use crate::context::Context;
use crate::journal::Journal;
use crate::value::merged;

/// Two measurements and a decision, each every 15 s, and a slow machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How often an autoscaler decides.
pub(super) const TURN: Duration = Duration::from_secs(15);
/// How long two decisions take, at least.
pub(super) const TWO_DECISIONS: Duration = Duration::from_secs(32);

/// A victim that uses `burn` of `request` millicores.
pub(super) fn burning(context: &Context, burn: u32, request: u32, more: &[&str]) -> Value {
    let burn = burn.to_string();
    let arguments = [&["--burn", &burn], more].concat();
    let request = json!({"resources": {"requests": {"cpu": format!("{request}m")}}});
    merged(context.victim(&arguments), request)
}

/// A Deployment, and every change of it.
pub(super) async fn deploy(
    context: &Context,
    part: &str,
    container: Value,
    replicas: u32,
) -> Result<Journal<Deployment>, Shortfall> {
    let object = context.deployment(part, container, json!({"replicas": replicas}));
    context.create::<Deployment>(object).await?;
    context.journal::<Deployment>(part).await
}

/// An autoscaler for a part's Deployment: up to `most` replicas, at `target` percent of the
/// processor time they ask for.
pub(super) async fn autoscale(
    context: &Context,
    part: &str,
    most: u32,
    target: i32,
) -> Result<HorizontalPodAutoscaler, Shortfall> {
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
    context.create(autoscaler).await
}

pub(super) fn replicas(deployment: &Deployment) -> i32 {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

/// When the Deployment first had other replicas than `before`, and how many.
pub(super) async fn changed(
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
