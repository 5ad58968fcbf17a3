//! Undoing what an earlier run has left: the same controller, told to undo.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::controller::Controller;
use crate::error::{FaultError, gone_is_done};
use crate::injection::{FaultInjection, Phase};
use crate::undo::undo;

/// A fault that was found in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The namespace of its object.
    pub namespace: String,
    /// The name of its object.
    pub name: String,
    /// The run that wanted it.
    pub run: String,
    /// The step of the run.
    pub step: String,
    /// What is done, in the words of the catalogue.
    pub fault: String,
    /// How far it is.
    pub phase: Phase,
    /// RFC 3339, UTC: it is undone by then.
    pub not_after: String,
    /// What went wrong last.
    pub error: Option<String>,
    /// The Lease that says whether the run is alive.
    lease: Option<String>,
}

/// The faults that a cluster knows of, in one namespace or in all.
///
/// # Errors
/// A cluster that does not say; one that does not know the kind has none.
pub async fn found(client: &Client, namespace: Option<&str>) -> Result<Vec<Found>, FaultError> {
    let objects = objects(client, namespace).await?;
    let found = objects.into_iter().map(|object| {
        let status = object.progress();
        Found {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            fault: object.spec.fault.describe(),
            phase: status.phase,
            error: status.error,
            run: object.spec.run,
            step: object.spec.step,
            not_after: object.spec.not_after,
            lease: object.spec.lease,
        }
    });
    Ok(found.collect())
}

/// The objects of the faults in one namespace or in all.
pub(crate) async fn objects(
    client: &Client,
    namespace: Option<&str>,
) -> Result<Vec<FaultInjection>, FaultError> {
    let api: Api<FaultInjection> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    match api.list(&ListParams::default()).await {
        Ok(objects) => Ok(objects.items),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(FaultError::during("list faultinjections")(error)),
    }
}

/// Whether the run that wanted the fault still renews its lease: looks for as long as a lease lasts.
///
/// # Errors
/// A cluster that does not say.
pub async fn is_wanted(client: &Client, found: &Found) -> Result<bool, FaultError> {
    match &found.lease {
        None => Ok(false),
        Some(lease) => crate::lease::is_renewed(client, &found.namespace, lease).await,
    }
}

/// Undoes a fault and removes its object; returns what proves that it is undone. Acts itself unless
/// a controller in the cluster does.
///
/// # Errors
/// What could not be undone; the object stays, and it can be tried again.
pub async fn recover(client: &Client, found: &Found) -> Result<String, FaultError> {
    let stop = CancellationToken::new();
    let _end = stop.clone().drop_guard();
    let controller = Controller::undoing(client.clone(), &found.namespace, stop.clone());
    let acting = tokio::spawn(controller.run());
    let api = Api::namespaced(client.clone(), &found.namespace);
    let undone = undo(&api, &found.name).await;
    stop.cancel();
    if acting.await.is_err() {
        tracing::warn!("the controller panicked");
    }
    let Some(object) = undone? else {
        return Ok("it is gone".to_owned());
    };
    if let Some(lease) = &object.spec.lease {
        forget(client, &found.namespace, lease).await?;
    }
    let reverted = object.progress().reverted;
    Ok(reverted.unwrap_or_else(|| "nothing was changed".to_owned()))
}

/// Deletes the lease of a run without faults. A run that lives makes it again.
async fn forget(client: &Client, namespace: &str, name: &str) -> Result<(), FaultError> {
    let objects: Api<FaultInjection> = Api::namespaced(client.clone(), namespace);
    let objects = objects.list(&ListParams::default()).await;
    let objects = objects.map_err(FaultError::during("list faultinjections"))?;
    if objects
        .iter()
        .any(|one| one.spec.lease.as_deref() == Some(name))
    {
        return Ok(());
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let deleted = leases.delete(name, &DeleteParams::default()).await;
    gone_is_done(deleted.map(drop)).map_err(FaultError::during(format!("delete the lease {name}")))
}
