//! Checks of what the kubelet does with a pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::check::{Check, Finding, Group, Load, verdict};
use crate::context::{Context, readiness_probe};

pub(super) const CHECKS: &[Check] = &[Check {
    number: 27,
    group: Group::Pod,
    title: "SIGTERM handled",
    expected: "a handler that exits 0: gone at once, phase Succeeded before that",
    about: Duration::from_secs(5),
    load: Load::Light,
    run: |context| Box::pin(handler_exits(context)),
}];

async fn handler_exits(context: Context) -> Finding {
    let epsilon = context.bounds.epsilon;
    let mut container = context.victim(&["--on-term", "exit"]);
    container["readinessProbe"] = readiness_probe();
    let changes = json!({"terminationGracePeriodSeconds": 30});
    let name = context.name("app");
    let journal = context.journal::<Pod>("app").await?;
    context
        .create::<Pod>(context.pod("app", container, changes))
        .await?;
    context.until_ready(&name).await?;
    let asked = tokio::time::Instant::now();
    context.delete::<Pod>(&name).await?;
    context
        .until_gone::<Pod>(&name, epsilon + Duration::from_secs(30))
        .await?;
    let took = asked.elapsed();
    let phases: Vec<String> = journal
        .entries()
        .iter()
        .filter_map(|entry| entry.object.status.as_ref()?.phase.clone())
        .collect();
    let last = phases.last().cloned().unwrap_or_default();
    verdict(
        took <= epsilon && last == "Succeeded",
        format!("gone after {:.1} s, last phase {last}", took.as_secs_f64()),
    )
}
