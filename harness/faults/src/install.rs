//! The custom resources that a cluster must know.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, CustomResourceExt, ResourceExt};

use crate::error::FaultError;
use crate::injection::FaultInjection;

/// A definition is established in no time, or something is wrong with the API server.
const WITHIN: Duration = Duration::from_secs(30);

/// The definitions that faults need.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![FaultInjection::crd()]
}

/// Makes a cluster know `definitions`, unless it knows them already, and waits until it does.
///
/// # Errors
/// A definition that is not there and may not be made, or is not established in time.
pub async fn install(
    client: &Client,
    definitions: &[CustomResourceDefinition],
) -> Result<(), FaultError> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in definitions {
        let name = definition.name_any();
        let what = format!("customresourcedefinition {name}");
        let parameters = PatchParams::apply("holdfast").force();
        let applied = api
            .patch(&name, &parameters, &Patch::Apply(definition))
            .await;
        match applied {
            Ok(_) => {}
            // Whoever may not define kinds may still use those that an administrator has defined.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let found = api.get_opt(&name).await;
                if !matches!(found, Ok(Some(_))) {
                    return Err(FaultError::NotInstalled(name));
                }
            }
            Err(error) => return Err(FaultError::during(format!("apply {what}"))(error)),
        }
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        match tokio::time::timeout(WITHIN, established).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                return Err(FaultError::Watch {
                    what,
                    source: Box::new(error),
                });
            }
            Err(_elapsed) => {
                return Err(FaultError::NotSeen {
                    what: format!("{what} is established"),
                    seconds: WITHIN.as_secs(),
                });
            }
        }
    }
    Ok(())
}
