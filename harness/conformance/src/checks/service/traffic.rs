//! What becomes of connections when endpoints come and go.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::stage::{PATIENCE, Prober, deploy, failures, service};
use crate::check::{Finding, verdict};
use crate::context::{Context, readiness_probe};
use crate::value::merged;
use crate::victim::Counts;

/// How long a pod goes on serving when it is deleted.
const HOOK: Duration = Duration::from_secs(3);

pub(super) async fn draining(context: Context) -> Finding {
    let hook = json!({
        "readinessProbe": readiness_probe(),
        "lifecycle": {"preStop": {"sleep": {"seconds": HOOK.as_secs()}}},
    });
    let container = merged(context.victim(&[]), hook);
    let target = service(&context, "app").await?;
    let spec = json!({
        "replicas": 2,
        "template": {"spec": {"terminationGracePeriodSeconds": 30}},
    });
    deploy(&context, "app", container, spec).await?;
    let prober = Prober::start(&context, "probe", &target, &[]).await?;
    let deployment = context.name("app");
    let asked = tokio::time::Instant::now();
    context
        .patch::<Deployment>(&deployment, json!({"spec": {"replicas": 0}}))
        .await?;
    let failing = |counts: &Counts| counts.failures() > 0;
    let first = prober.until("a connection fails", failing).await?;
    let drained = asked.elapsed();
    let refused = |counts: &Counts| counts.refusals() > 20;
    prober.until("connections are refused", refused).await?;
    let counts = prober.finish(&context).await?;
    verdict(
        // What fails in the moment of the change may be reset by a proxy in user space.
        drained >= HOOK && counts.slowest_refusal_ms < 100,
        format!(
            "{} answers and no failure for {:.1} s; then {}, the slowest refusal in {} ms",
            first.answers(),
            drained.as_secs_f64(),
            failures(&counts),
            counts.slowest_refusal_ms,
        ),
    )
}

pub(super) async fn fair_share(context: Context) -> Finding {
    let container = merged(
        context.victim(&[]),
        json!({"readinessProbe": readiness_probe()}),
    );
    let target = service(&context, "app").await?;
    deploy(&context, "app", container, json!({"replicas": 4})).await?;
    let arguments = ["--count", "4000", "--every", "10ms"];
    let prober = Prober::start(&context, "probe", &target, &arguments).await?;
    let counts = prober.finished().await?;
    let mut shares: Vec<f64> = counts
        .answered
        .values()
        .map(|answers| 100.0 * *answers as f64 / counts.answers() as f64)
        .collect();
    shares.sort_by(f64::total_cmp);
    let fair = shares.len() == 4 && shares.iter().all(|share| (20.0..=30.0).contains(share));
    let words: Vec<String> = shares.iter().map(|share| format!("{share:.1} %")).collect();
    verdict(fair, format!("{}; {}", words.join(", "), failures(&counts)))
}

pub(super) async fn keep_alive(context: Context) -> Finding {
    // Ready once, then not: it leaves the ready endpoints and goes on serving.
    let container = merged(
        context.victim(&["--ready", "0s..15s"]),
        json!({"readinessProbe": readiness_probe()}),
    );
    let target = service(&context, "app").await?;
    let pod = context.name("app");
    let object = context.pod("app", container, json!({}));
    context.create::<Pod>(object).await?;
    context.until_ready(&pod).await?;
    let prober = Prober::start(&context, "probe", &target, &["--keep-alive"]).await?;
    let not_ready = |pod: Option<&Pod>| pod.is_some_and(|pod| !crate::context::is_ready(pod));
    context
        .until(&pod, "the pod is not ready", PATIENCE, not_ready)
        .await?;
    let other = Prober::launch(&context, "other", &target, &[]).await?;
    let refused = |counts: &Counts| counts.refusals() > 20;
    other.until("new connections are refused", refused).await?;
    let then = prober.counts().answers();
    let goes_on = |counts: &Counts| counts.answers() >= then + 100;
    prober.until("the connection goes on", goes_on).await?;
    let counts = prober.finish(&context).await?;
    verdict(
        counts.connections == 0 && counts.failures() == 0,
        format!(
            "{} answers on the same connection, {} of them while new ones were refused; {}",
            counts.answers(),
            counts.answers() - then,
            failures(&counts),
        ),
    )
}
