//! `serviceDown`: a Service selects nobody, and then its pods again.

use holdfast_core::fault::ServiceDown;
use serde_json::json;

use super::service::Found;
use crate::action::{Action, Condition, Set, Wait};
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::field::Path;

/// A label that no pod carries.
const NOBODY: &str = "holdfast.dev/nobody";

pub(super) async fn blueprint(
    down: &ServiceDown,
    context: Context<'_>,
) -> Result<Blueprint, FaultError> {
    let service = Found::service(context.cluster, &down.service).await?;
    let selector = (
        Path::keys(["spec", "selector"]),
        Some(json!({NOBODY: context.short_name()})),
    );
    let name = down.service.clone();
    Ok(Blueprint {
        actions: vec![
            Action::Wait(Wait::before_the_end(Condition::Endpoint(name.clone()))),
            Action::Set(Set::plan(
                service.object.clone(),
                &service.found,
                [selector],
            )?),
            Action::Wait(Wait::for_evidence(Condition::NoEndpoint(name))),
        ],
        targets: vec![service.none()],
    })
}
