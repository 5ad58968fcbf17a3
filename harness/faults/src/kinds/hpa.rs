//! `hpa`: an autoscaler is made and deleted, or deleted and made again.

use holdfast_core::fault::{Hpa, HpaCreate};
use kube::ResourceExt;
use serde_json::json;

use super::workload::Workload;
use crate::action::{Action, Create, Remove, Set};
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::field::Path;
use crate::object::{Object, Resource};

pub(super) async fn blueprint(hpa: &Hpa, context: Context<'_>) -> Result<Blueprint, FaultError> {
    match hpa {
        Hpa::Create(create) => self::create(create, context).await,
        Hpa::Remove(name) => remove(name, context).await,
    }
}

/// The autoscaler changes the Deployment's replicas: they are put back after it is deleted.
async fn create(create: &HpaCreate, context: Context<'_>) -> Result<Blueprint, FaultError> {
    let name = &create.deployment;
    let deployment = Workload::deployment(context.cluster, name).await?;
    let resource = Resource::HorizontalPodAutoscaler;
    if context.cluster.find(resource, name).await?.is_some() {
        return Err(FaultError::Taken {
            what: format!("{} {name}", resource.word()),
        });
    }
    let replicas = &deployment.found.data["spec"]["replicas"];
    let replicas = (Path::keys(["spec", "replicas"]), Some(replicas.clone()));
    let keep = Set::keep(deployment.object.clone(), &deployment.found, [replicas]);
    let manifest = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": create.min_replicas,
            "maxReplicas": create.max_replicas,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": create.cpu},
            }}],
        },
    });
    // With nothing to do it takes all but the fewest, and with more than the most at once the rest.
    let fewest = create.min_replicas.min(create.max_replicas);
    Ok(Blueprint {
        actions: vec![
            Action::Set(keep),
            Action::Create(Create {
                resource,
                name: name.clone(),
                manifest,
            }),
            deployment.back(),
        ],
        targets: vec![deployment.leaving(fewest)],
    })
}

async fn remove(name: &str, context: Context<'_>) -> Result<Blueprint, FaultError> {
    let resource = Resource::HorizontalPodAutoscaler;
    let found = context.cluster.get(resource, name).await?;
    let object = Object {
        resource,
        name: name.to_owned(),
        uid: found.uid().unwrap_or_default(),
    };
    Ok(Blueprint {
        actions: vec![Action::Remove(Remove::plan(object, &found))],
        targets: Vec::new(),
    })
}
