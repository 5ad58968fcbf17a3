//! Having a fault undone by whoever acts in its namespace.

use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::error::{FaultError, gone_is_done};
use crate::injection::{Desired, FaultInjection, Phase};

/// Says that a fault is to be undone, waits until it is, and removes its object. Returns the object
/// as it was last, or nothing if it was gone before.
pub(crate) async fn undo(
    api: &Api<FaultInjection>,
    name: &str,
) -> Result<Option<FaultInjection>, FaultError> {
    if !want_reverted(api, name).await? {
        return Ok(None);
    }
    let Some(ended) = watch(api, name, has_ended).await? else {
        return Ok(None);
    };
    let status = ended.progress();
    if let Some(error) = status.error.filter(|_| status.phase == Phase::Reverting) {
        return Err(FaultError::Refused(error));
    }
    let deleted = api.delete(name, &DeleteParams::default()).await;
    gone_is_done(deleted.map(drop))
        .map_err(FaultError::during(format!("delete faultinjection {name}")))?;
    watch(api, name, is_deleted(&ended.uid().unwrap_or_default())).await?;
    Ok(Some(ended))
}

/// Whether there is an object to say it to.
async fn want_reverted(api: &Api<FaultInjection>, name: &str) -> Result<bool, FaultError> {
    let parameters = PatchParams::default();
    // Why an earlier attempt failed is no answer to this one.
    let no_error = Patch::Merge(json!({"status": {"error": null}}));
    let told = api.patch_status(name, &parameters, &no_error).await;
    let told = match told {
        Ok(_) => {
            let reverted = Patch::Merge(json!({"spec": {"desired": Desired::Reverted}}));
            api.patch(name, &parameters, &reverted).await
        }
        Err(error) => Err(error),
    };
    match told {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(FaultError::during(format!("undo faultinjection {name}"))(
            error,
        )),
    }
}

fn has_ended(found: Option<&FaultInjection>) -> bool {
    found.is_none_or(|found| {
        let status = found.progress();
        let failed = status.phase == Phase::Reverting && status.error.is_some();
        failed || matches!(status.phase, Phase::Reverted | Phase::Refused)
    })
}

/// Waits until a fault's object is as wanted.
pub(crate) async fn watch(
    api: &Api<FaultInjection>,
    name: &str,
    wanted: impl kube::runtime::wait::Condition<FaultInjection>,
) -> Result<Option<FaultInjection>, FaultError> {
    let reached = await_condition(api.clone(), name, wanted).await;
    reached.map_err(|error| FaultError::Watch {
        what: format!("faultinjection {name}"),
        source: Box::new(error),
    })
}
