//! Removes what a run made, found by its labels.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::check::in_one_line;
use crate::context::{CHECK_LABEL, RUN_LABEL};

/// A pod may take its grace period, and a controller a moment to notice.
const WITHIN: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(200);

/// Removes the objects of a run, or of one of its checks; returns what could not be removed.
pub(super) async fn remove(
    client: &Client,
    namespace: &str,
    run: &str,
    check: Option<u16>,
) -> Vec<String> {
    let selector = match check {
        Some(number) => format!("{RUN_LABEL}={run},{CHECK_LABEL}={number}"),
        None => format!("{RUN_LABEL}={run}"),
    };
    let begun = Instant::now();
    loop {
        let mut left = Vec::new();
        // Owners first, or they make again what they own.
        left.extend(delete_all::<HorizontalPodAutoscaler>(client, namespace, &selector).await);
        left.extend(delete_all::<PodDisruptionBudget>(client, namespace, &selector).await);
        left.extend(delete_all::<Deployment>(client, namespace, &selector).await);
        left.extend(delete_all::<Job>(client, namespace, &selector).await);
        left.extend(delete_all::<ReplicaSet>(client, namespace, &selector).await);
        left.extend(delete_all::<Pod>(client, namespace, &selector).await);
        left.extend(delete_all::<Service>(client, namespace, &selector).await);
        left.extend(delete_all::<ConfigMap>(client, namespace, &selector).await);
        if left.is_empty() || begun.elapsed() > WITHIN {
            return left;
        }
        sleep(PAUSE).await;
    }
}

/// Deletes what there is of a kind, and returns what there was.
async fn delete_all<K>(client: &Client, namespace: &str, selector: &str) -> Vec<String>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let found = match api.list(&ListParams::default().labels(selector)).await {
        Ok(list) => list.items,
        // A cluster that lacks the kind has none.
        Err(kube::Error::Api(status)) if status.code == 404 => return Vec::new(),
        Err(error) => return vec![format!("{kind}: {}", in_one_line(&error))],
    };
    let at_once = DeleteParams::background().grace_period(0);
    let mut left = Vec::new();
    for object in found {
        let name = object.name_any();
        let gone = match api.delete(&name, &at_once).await {
            Ok(_) => false,
            Err(kube::Error::Api(status)) => status.code == 404,
            Err(_) => false,
        };
        if !gone {
            left.push(format!("{kind} {namespace}/{name}"));
        }
    }
    left
}

/// Deletes the namespace, and does not wait for its end.
pub(super) async fn remove_namespace(client: &Client, namespace: &str) -> Option<String> {
    let api = Api::<Namespace>::all(client.clone());
    let deleted = api.delete(namespace, &DeleteParams::default()).await;
    let error = deleted.err()?;
    Some(format!("Namespace {namespace}: {}", in_one_line(&error)))
}
