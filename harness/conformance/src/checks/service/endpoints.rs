//! What an EndpointSlice says of a pod.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};
use serde_json::json;

use super::stage::PATIENCE;
use crate::check::{Finding, verdict};
use crate::context::{Context, readiness_probe};
use crate::journal::Journal;

pub(super) async fn terminating(context: Context) -> Finding {
    // It ignores SIGTERM, so its probe passes until the grace period is over.
    let mut container = context.victim(&["--on-term", "ignore"]);
    container["readinessProbe"] = readiness_probe();
    context.create::<Service>(context.service("app")).await?;
    let of_service = format!("kubernetes.io/service-name={}", context.name("app"));
    let slices = Journal::<EndpointSlice>::of(context.api(), &of_service).await?;
    let pod = context.name("app");
    let object = context.pod("app", container, json!({}));
    context.create::<Pod>(object).await?;
    let ready = (true, true, false);
    slices
        .until("the endpoint is ready", PATIENCE, |entries| {
            entries
                .iter()
                .any(|entry| conditions(&entry.object).contains(&ready))
                .then_some(())
        })
        .await?;
    context.delete::<Pod>(&pod).await?;
    context.until_gone::<Pod>(&pod, PATIENCE).await?;
    let entries = slices.entries();
    let told: Vec<_> = entries
        .iter()
        .flat_map(|entry| conditions(&entry.object))
        .filter(|(_, _, terminating)| *terminating)
        .collect();
    match told.first() {
        Some((ready, serving, terminating)) => verdict(
            !ready && *serving,
            format!("ready={ready} serving={serving} terminating={terminating}"),
        ),
        None => verdict(false, "the endpoint was never terminating"),
    }
}

/// Of each endpoint: ready, serving, terminating.
fn conditions(slice: &EndpointSlice) -> Vec<(bool, bool, bool)> {
    let of = |conditions: &EndpointConditions| {
        (
            conditions.ready.unwrap_or(true),
            conditions.serving.unwrap_or(true),
            conditions.terminating.unwrap_or(false),
        )
    };
    let endpoints = slice.endpoints.iter();
    endpoints
        .filter_map(|endpoint| endpoint.conditions.as_ref().map(of))
        .collect()
}
