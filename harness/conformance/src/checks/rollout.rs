//! Checks of Deployments and ReplicaSets.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::check::{Check, Finding, Group, Load, Shortfall, verdict};
use crate::context::Context;

pub(super) const CHECKS: &[Check] = &[Check {
    number: 6,
    group: Group::Rollout,
    title: "No room to roll",
    expected: "surge 0 with unavailable 0 is refused with 422",
    about: Duration::from_secs(1),
    load: Load::Light,
    run: |context| Box::pin(no_room_to_roll(context)),
}];

async fn no_room_to_roll(context: Context) -> Finding {
    let strategy = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}});
    let object = context.deployment("app", context.victim(&[]), json!({"strategy": strategy}));
    match context.create::<Deployment>(object).await {
        Ok(_) => Err(Shortfall::Failed("it was accepted".to_owned())),
        Err(Shortfall::Failed(observed)) => verdict(observed.starts_with("422 "), observed),
        Err(skipped @ Shortfall::Skipped(_)) => Err(skipped),
    }
}
