//! The kill switch: one object that ends every fault and refuses new ones as long as it is there.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};

use crate::error::FaultError;

/// The namespace of the switch.
pub const HALT_NAMESPACE: &str = "kube-system";
/// The ConfigMap that is the switch; its key `reason` says why.
pub const HALT_NAME: &str = "holdfast-halt";

fn api(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), HALT_NAMESPACE)
}

/// Ends every fault in the cluster, and refuses new ones until [`resume`].
///
/// # Errors
/// The cluster's refusal.
pub async fn halt(client: &Client, reason: &str) -> Result<(), FaultError> {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(HALT_NAME.to_owned());
    map.data = Some([("reason".to_owned(), reason.to_owned())].into());
    let parameters = PatchParams::apply("holdfast").force();
    let applied = api(client)
        .patch(HALT_NAME, &parameters, &Patch::Apply(&map))
        .await;
    applied.map(drop).map_err(FaultError::during("halt"))
}

/// Permits faults again; whether they were halted.
///
/// # Errors
/// The cluster's refusal.
pub async fn resume(client: &Client) -> Result<bool, FaultError> {
    match api(client)
        .delete(HALT_NAME, &DeleteParams::default())
        .await
    {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(FaultError::during("resume")(error)),
    }
}

/// The words with which everything is halted, if it is.
///
/// # Errors
/// A cluster that does not say.
pub async fn halted(client: &Client) -> Result<Option<String>, FaultError> {
    let found = api(client).get_opt(HALT_NAME).await;
    let found = found.map_err(FaultError::during("read whether everything is halted"))?;
    Ok(found.map(|map| {
        let words = map.data.and_then(|mut data| data.remove("reason"));
        words.unwrap_or_else(|| "without a reason".to_owned())
    }))
}
