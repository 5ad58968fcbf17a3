//! What clients see of a rollout.

use serde_json::{Value, json};

use super::stage::{Prober, deploy, failures, roll, service};
use crate::check::{Finding, Shortfall, verdict};
use crate::context::{Context, readiness_probe};
use crate::value::merged;
use crate::victim::Counts;

const ROLLOUTS: u32 = 5;

pub(super) async fn under_load(context: Context) -> Finding {
    let abrupt = merged(
        context.victim(&["--on-term", "exit"]),
        json!({"readinessProbe": readiness_probe()}),
    );
    let graceful = merged(
        context.victim(&["--on-term", "drain:5s"]),
        json!({
            "readinessProbe": readiness_probe(),
            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        }),
    );
    let (abrupt, graceful) = tokio::try_join!(
        failures_of_rollouts(&context, "abrupt", abrupt, ROLLOUTS),
        failures_of_rollouts(&context, "graceful", graceful, ROLLOUTS),
    )?;
    verdict(
        abrupt.failures() > 0 && graceful.failures() == 0,
        format!(
            "exit at once: {} of {}; drained: {} of {}",
            failures(&abrupt),
            abrupt.failures() + abrupt.answers(),
            failures(&graceful),
            graceful.failures() + graceful.answers(),
        ),
    )
}

pub(super) async fn slow_start(context: Context) -> Finding {
    let container = context.victim(&["--boot-delay", "5s", "--on-term", "drain:2s"]);
    // The old pod must serve until the proxies know the new one, in both cases.
    let container = merged(
        container,
        json!({"lifecycle": {"preStop": {"sleep": {"seconds": 3}}}}),
    );
    let probed = merged(
        container.clone(),
        json!({"readinessProbe": readiness_probe()}),
    );
    let (blind, probed) = tokio::try_join!(
        failures_of_rollouts(&context, "blind", container, 1),
        failures_of_rollouts(&context, "probed", probed, 1),
    )?;
    verdict(
        blind.failures() > 0 && probed.failures() == 0,
        format!(
            "without probe: {}; with: {}",
            failures(&blind),
            failures(&probed)
        ),
    )
}

/// What a client counts from the time when everything works, through some rollouts.
async fn failures_of_rollouts(
    context: &Context,
    part: &str,
    container: Value,
    rollouts: u32,
) -> Result<Counts, Shortfall> {
    let target = service(context, part).await?;
    let spec = json!({
        "replicas": 2,
        "template": {"spec": {"terminationGracePeriodSeconds": 30}},
    });
    deploy(context, part, container, spec).await?;
    let client = format!("{part}-probe");
    let prober = Prober::start(context, &client, &target, &[]).await?;
    for version in 0..rollouts {
        roll(context, part, version).await?;
    }
    // The last pods may still be terminating, and serving.
    let then = prober.counts().connections;
    let settled = |counts: &Counts| counts.connections >= then + 100;
    prober.until("the prober goes on", settled).await?;
    prober.finish(context).await
}
