//! `hpa`: an autoscaler is made and deleted, or deleted and made again.

use holdfast_core::fault::{Hpa, HpaCreate};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use kube::ResourceExt;
use serde_json::json;

use super::workload::Workload;
use crate::action::{Action, Create, Remove, Set};
use crate::blueprint::{Blueprint, Context};
use crate::error::FaultError;
use crate::field::Path;
use crate::object::{Cluster, Object, Resource};

/// Where a cluster says what pods use, if anything in it measures that.
const METRICS: &str = "metrics.k8s.io/v1beta1";

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
    requests_processors(&deployment)?;
    serves_metrics(context.cluster).await?;
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

/// An autoscaler aims at a share of what is requested: it does nothing where a container requests nothing.
/// Seen in the pods, for the cluster may give them requests that their template has not.
fn requests_processors(deployment: &Workload) -> Result<(), FaultError> {
    for pod in &deployment.pods {
        if let Some(container) = without_request(pod) {
            return Err(FaultError::Impossible(format!(
                "container {container} of {} requests no CPU (resources.requests.cpu), so that an \
                 autoscaler cannot tell how much of it is used",
                deployment.object
            )));
        }
    }
    Ok(())
}

fn without_request(pod: &Pod) -> Option<&str> {
    let requests = |resources: &Option<ResourceRequirements>| {
        let requests = resources.as_ref().and_then(|all| all.requests.as_ref());
        requests.is_some_and(|requests| requests.contains_key("cpu"))
    };
    let spec = pod.spec.as_ref()?;
    if requests(&spec.resources) {
        return None;
    }
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let mut running = spec.containers.iter().chain(sidecars);
    let without = running.find(|container| !requests(&container.resources))?;
    Some(&without.name)
}

/// Whether the cluster measures what pods use; the API's own list of what it serves says so.
async fn serves_metrics(cluster: &Cluster) -> Result<(), FaultError> {
    let served = cluster.client.list_api_group_resources(METRICS).await;
    let found = match served {
        Ok(served) => served.resources.iter().any(|one| one.name == "pods"),
        // The answer of no API: it is plain text, and has no reason that the client would know.
        Err(kube::Error::Api(status)) if status.code == 404 => false,
        Err(error) => {
            let action = format!("see whether the cluster serves {METRICS}");
            return Err(FaultError::during(action)(error));
        }
    };
    if found {
        return Ok(());
    }
    Err(FaultError::Impossible(format!(
        "it does not serve {METRICS}, by which an autoscaler learns what pods use; metrics-server does"
    )))
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
