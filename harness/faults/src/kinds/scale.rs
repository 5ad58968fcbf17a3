//! `scale`: set a Deployment's replicas through its scale subresource, and set them back.

use holdfast_core::experiment::SafetyNet;
use holdfast_core::fault::Scale;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::driver::FaultError;
use crate::ledger::Undo;

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

async fn set(
    client: &Client,
    namespace: &str,
    name: &str,
    replicas: i64,
) -> Result<(), FaultError> {
    Api::<Deployment>::namespaced(client.clone(), namespace)
        .patch_scale(
            name,
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": replicas}})),
        )
        .await
        .map_err(FaultError::during(format!(
            "scale deployment {namespace}/{name} to {replicas}"
        )))?;
    Ok(())
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
) -> Result<String, FaultError> {
    let before = replicas(&get_existing(client, namespace, &scale.deployment).await?);
    set(
        client,
        namespace,
        &scale.deployment,
        i64::from(scale.replicas),
    )
    .await?;
    Ok(format!(
        "deployment {} scaled from {before} to {}",
        scale.deployment, scale.replicas
    ))
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
    let found = replicas(&deployment);
    if found == original.replicas {
        return Ok(format!("deployment {name} already has {found} replicas"));
    }
    set(client, namespace, name, i64::from(original.replicas)).await?;
    Ok(format!(
        "deployment {name} scaled back from {found} to {}",
        original.replicas
    ))
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
