//! The kinds of object that faults touch and stop conditions read, and the way to one of them.

use holdfast_core::condition::ObjectKind;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};

use crate::error::FaultError;

/// A kind of object that a fault may touch or a stop condition read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Resource {
    Deployment,
    StatefulSet,
    Service,
    ConfigMap,
    HorizontalPodAutoscaler,
    Lease,
    Pod,
    Node,
}

impl Resource {
    pub(crate) fn api_resource(self) -> ApiResource {
        match self {
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::HorizontalPodAutoscaler => ApiResource::erase::<HorizontalPodAutoscaler>(&()),
            Self::Lease => ApiResource::erase::<Lease>(&()),
            Self::Pod => ApiResource::erase::<Pod>(&()),
            Self::Node => ApiResource::erase::<Node>(&()),
        }
    }

    /// The word for people, which kubectl understands too.
    pub(crate) fn word(self) -> String {
        self.api_resource().kind.to_lowercase()
    }
}

impl From<ObjectKind> for Resource {
    fn from(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::Deployment => Self::Deployment,
            ObjectKind::Pod => Self::Pod,
            ObjectKind::Node => Self::Node,
            ObjectKind::HorizontalPodAutoscaler => Self::HorizontalPodAutoscaler,
        }
    }
}

/// One object, and not another one that has since taken its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Object {
    pub(crate) resource: Resource,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl std::fmt::Display for Object {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.resource.word(), self.name)
    }
}

/// The cluster, as far as one namespace's faults reach.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Objects of a kind, whatever they hold.
    pub(crate) fn any(&self, resource: Resource) -> Api<DynamicObject> {
        let kind = resource.api_resource();
        match resource {
            Resource::Node => Api::all_with(self.client.clone(), &kind),
            _ => Api::namespaced_with(self.client.clone(), &self.namespace, &kind),
        }
    }

    /// Objects of a namespaced kind.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The object of this name, if there is one.
    pub(crate) async fn find(
        &self,
        resource: Resource,
        name: &str,
    ) -> Result<Option<DynamicObject>, FaultError> {
        let found = self.any(resource).get_opt(name).await;
        found.map_err(FaultError::during(format!(
            "read {} {name}",
            resource.word()
        )))
    }

    /// The object of this name, which must be there.
    pub(crate) async fn get(
        &self,
        resource: Resource,
        name: &str,
    ) -> Result<DynamicObject, FaultError> {
        let found = self.find(resource, name).await?;
        found.ok_or_else(|| FaultError::NoSuchObject {
            what: resource.word(),
            name: format!("{}/{name}", self.namespace),
        })
    }
}

/// The same object as plain data.
pub(crate) fn to_json(object: &DynamicObject) -> serde_json::Value {
    serde_json::to_value(object).expect("an object came from JSON")
}

/// The object with other data.
pub(crate) fn from_json(value: serde_json::Value) -> Result<DynamicObject, FaultError> {
    serde_json::from_value(value).map_err(FaultError::Malformed)
}
