//! `scale`: set a Deployment's replicas, and set them back.
//!
//! A request that got no answer cannot be recalled: it may still arrive after the fault has been
//! undone. Hence an injection holds for one version of the Deployment only, and undoing makes a
//! new version always, even of a Deployment that looks untouched.

use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::Scale;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::FaultError;
use crate::ledger::Undo;

/// How often an injection is tried when something else, such as the Deployment's controller,
/// changes the Deployment at the same time.
const INJECT_ATTEMPTS: u32 = 10;

/// Makes a new version of a Deployment. The value is the version that was found, so it is never
/// there already. A label, because annotations are copied to ReplicaSets and stay there.
const REVERTED_LABEL: &str = "holdfast.dev/reverted-from";

/// What a Deployment looked like before it was scaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Original {
    pub(crate) deployment: String,
    /// Undoing must not touch another object that has since taken the same name.
    pub(crate) uid: String,
    pub(crate) replicas: i32,
}

impl Original {
    pub(crate) fn describe(&self) -> String {
        format!("scale deployment {} to {}", self.deployment, self.replicas)
    }
}

async fn get(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Deployment>, FaultError> {
    Api::<Deployment>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .map_err(FaultError::during(format!(
            "read deployment {namespace}/{name}"
        )))
}

async fn get_existing(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Deployment, FaultError> {
    get(client, namespace, name)
        .await?
        .ok_or_else(|| FaultError::NoSuchDeployment {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
}

fn replicas(deployment: &Deployment) -> i32 {
    let asked = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    asked.unwrap_or(1)
}

/// Merges `change` into a Deployment.
async fn patch(
    client: &Client,
    namespace: &str,
    name: &str,
    change: &Value,
) -> Result<Deployment, FaultError> {
    Api::<Deployment>::namespaced(client.clone(), namespace)
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await
        .map_err(FaultError::during(format!(
            "scale deployment {namespace}/{name} back"
        )))
}

/// The API's answer says what it stored, which need not be what it was asked for.
fn confirm(name: &str, wanted: i64, found: i32) -> Result<(), FaultError> {
    let found = i64::from(found);
    if found == wanted {
        return Ok(());
    }
    Err(FaultError::NotAsAsked {
        name: name.to_owned(),
        wanted,
        found,
    })
}

/// The Deployment exists, has available pods, and enough of them stay.
pub(crate) async fn check(
    client: &Client,
    namespace: &str,
    scale: &Scale,
    allow: &[SafetyNet],
) -> Result<(), FaultError> {
    let deployment = get_existing(client, namespace, &scale.deployment).await?;
    let status = deployment.status.unwrap_or_default();
    let ready = u32::try_from(status.ready_replicas.unwrap_or(0)).unwrap_or(0);
    if ready == 0 {
        return Err(FaultError::NotAvailable {
            name: scale.deployment.clone(),
        });
    }
    let left = scale.replicas.min(ready);
    if (left == 0 || left * 2 < ready) && !allow.contains(&SafetyNet::BlastRadius) {
        return Err(FaultError::BlastRadius {
            what: format!(
                "scaling deployment {} to {}",
                scale.deployment, scale.replicas
            ),
            left,
            ready,
        });
    }
    Ok(())
}

/// How to undo it: the number of replicas asked for now.
pub(crate) async fn undo(
    client: &Client,
    namespace: &str,
    scale: &Scale,
) -> Result<Undo, FaultError> {
    let deployment = get_existing(client, namespace, &scale.deployment).await?;
    Ok(Undo::Scale(Original {
        deployment: scale.deployment.clone(),
        uid: deployment.uid().unwrap_or_default(),
        replicas: replicas(&deployment),
    }))
}

/// Scales. The fault is in effect from the moment at which the API accepts it.
pub(crate) async fn inject(
    client: &Client,
    namespace: &str,
    scale: &Scale,
    original: &Original,
) -> Result<String, FaultError> {
    let name = &scale.deployment;
    let api = Api::<Deployment>::namespaced(client.clone(), namespace);
    let mut attempt = 1;
    loop {
        let found = get_existing(client, namespace, name).await?;
        if found.uid().unwrap_or_default() != original.uid {
            return Err(FaultError::Replaced { name: name.clone() });
        }
        let change = json!({
            "metadata": {"resourceVersion": found.resource_version()},
            "spec": {"replicas": scale.replicas},
        });
        let answer = api
            .patch_scale(name, &PatchParams::default(), &Patch::Merge(change))
            .await;
        match answer {
            Ok(scaled) => {
                // A Scale leaves zero out.
                let after = scaled.spec.and_then(|spec| spec.replicas).unwrap_or(0);
                confirm(name, i64::from(scale.replicas), after)?;
                let before = replicas(&found);
                return Ok(format!(
                    "deployment {name} scaled from {before} to {}",
                    scale.replicas
                ));
            }
            Err(kube::Error::Api(status)) if status.is_conflict() && attempt < INJECT_ATTEMPTS => {
                attempt += 1;
            }
            Err(error) => {
                let action = format!("scale deployment {namespace}/{name} to {}", scale.replicas);
                return Err(FaultError::during(action)(error));
            }
        }
    }
}

/// Scales back. A Deployment that is gone, or another one of the same name, is left alone.
pub(crate) async fn recover(
    client: &Client,
    namespace: &str,
    original: &Original,
) -> Result<String, FaultError> {
    let name = &original.deployment;
    let Some(deployment) = get(client, namespace, name).await? else {
        return Ok(format!(
            "deployment {name} is gone; there is nothing to scale back"
        ));
    };
    if deployment.uid().unwrap_or_default() != original.uid {
        return Ok(format!(
            "deployment {name} was replaced; the new one is left alone"
        ));
    }
    // One request for both: an injection that arrives before it is overwritten, and one that
    // arrives after it holds for a former version. The UID refuses another object of this name.
    let back = json!({
        "metadata": {
            "uid": original.uid,
            "labels": {REVERTED_LABEL: deployment.resource_version()},
        },
        "spec": {"replicas": original.replicas},
    });
    let scaled = patch(client, namespace, name, &back).await?;
    confirm(name, i64::from(original.replicas), replicas(&scaled))?;
    let without_label = json!({
        "metadata": {"uid": original.uid, "labels": {REVERTED_LABEL: null}},
    });
    patch(client, namespace, name, &without_label).await?;
    let found = replicas(&deployment);
    Ok(if found == original.replicas {
        format!("deployment {name} has {found} replicas, as before")
    } else {
        format!(
            "deployment {name} scaled back from {found} to {}",
            original.replicas
        )
    })
}

/// What is not as before, if anything.
pub(crate) async fn difference(
    client: &Client,
    namespace: &str,
    original: &Original,
) -> Result<Option<String>, FaultError> {
    let name = &original.deployment;
    let Some(deployment) = get(client, namespace, name).await? else {
        return Ok(None);
    };
    let found = replicas(&deployment);
    let same_object = deployment.uid().unwrap_or_default() == original.uid;
    Ok((same_object && found != original.replicas).then(|| {
        format!(
            "deployment {name} has {found} replicas instead of {}; scale it back: kubectl -n {namespace} scale deployment {name} --replicas {}",
            original.replicas, original.replicas
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_differs_from_what_was_asked_is_an_error() {
        confirm("pay", 2, 2).unwrap();
        let error = confirm("pay", 0, 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "deployment pay has 3 replicas after a request for 0; an admission webhook may have changed it"
        );
    }
}
