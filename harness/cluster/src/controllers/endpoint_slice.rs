//! EndpointSlices: which pods of a Service take connections.

mod arrange;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use self::arrange::{Change, Group, arrange};
use super::ownership::controller_reference;
use super::replica_set::{is_terminal, ready_condition};
use super::{Controller, concerned};
use crate::object;
use crate::selector::Selector;
use crate::store::{DeleteOptions, Event, Key, Kinds, Resource, Store, StoreError};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

#[derive(Debug)]
pub(super) struct EndpointSlices {
    store: Store,
}

impl EndpointSlices {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }
}

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn watched(&self) -> Kinds {
        Kinds::Only(&[Resource::Services, Resource::Pods, Resource::EndpointSlices])
    }

    fn concerned(&self, event: &Event) -> Vec<Key> {
        match event.resource {
            Resource::Services => vec![concerned::itself(event)],
            Resource::Pods => concerned::selecting(&self.store, event, &Resource::Services),
            _ => {
                let labels = object::labels(&event.object);
                let service = labels.get(SERVICE_NAME).into_iter();
                let namespace = object::namespace(&event.object);
                service
                    .map(|service| Key::new(Resource::Services, namespace, service))
                    .collect()
            }
        }
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        let found = self
            .store
            .get(key.resource.clone(), &key.namespace, &key.name);
        if let Some(service) = found.and_then(|service| service.typed()) {
            sync(&self.store, key, &service)?;
        }
        Ok(None)
    }
}

fn sync(store: &Store, key: &Key, service: &Service) -> Result<(), StoreError> {
    let (namespace, name) = (key.namespace.as_str(), key.name.as_str());
    let Some(selector) = selector(service) else {
        return Ok(());
    };
    let pods = store.select(Resource::Pods, namespace, &selector);
    let pods: Vec<Arc<Pod>> = pods.iter().filter_map(|pod| pod.typed()).collect();
    let Some(spec) = &service.spec else {
        return Ok(());
    };
    let own = [(SERVICE_NAME, name), (MANAGED_BY, MANAGER)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let own = Selector::of_labels(&BTreeMap::from(own));
    let mut present = store.select(Resource::EndpointSlices, namespace, &own);
    present.retain(|slice| !object::is_deleting(slice));
    let present: Vec<&Value> = present.iter().map(|slice| -> &Value { slice }).collect();
    for change in arrange(&present, groups(spec, &pods)) {
        carry_out(store, service, spec, change)?;
    }
    Ok(())
}

fn carry_out(
    store: &Store,
    service: &Service,
    spec: &ServiceSpec,
    change: Change,
) -> Result<(), StoreError> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    match change {
        Change::Create(group) => store
            .create(Resource::EndpointSlices, slice(service, spec, &group))
            .map(drop),
        Change::Keep(name, group) => {
            let wanted = slice(service, spec, &group);
            let update = store.update(Resource::EndpointSlices, namespace, &name, |slice| {
                for field in ["endpoints", "ports"] {
                    slice[field] = wanted[field].clone();
                }
                slice["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
            });
            update.map(drop)
        }
        Change::Delete(name) => {
            let options = DeleteOptions::default();
            store
                .delete(Resource::EndpointSlices, namespace, &name, &options)
                .map(drop)
        }
    }
}

/// The selector of a service. `None` for one without, whose slices are someone
/// else's.
fn selector(service: &Service) -> Option<Selector> {
    let selector = service.spec.as_ref()?.selector.as_ref()?;
    (!selector.is_empty()).then(|| Selector::of_labels(selector))
}

/// The endpoints of a service among the pods it selects. Pods may give different
/// numbers to the same port name.
fn groups(spec: &ServiceSpec, pods: &[Arc<Pod>]) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !is_terminal(pod)) {
        let Some(endpoint) = endpoint(spec, pod) else {
            continue;
        };
        let ports = ports(spec, pod);
        let group = groups.entry(Value::from(ports.clone()).to_string());
        let group = group.or_insert_with(|| Group {
            ports,
            endpoints: Vec::new(),
        });
        group.endpoints.push(endpoint);
    }
    groups.into_values().collect()
}

/// A pod as an endpoint; nothing while it has no address. A deleted pod goes on
/// serving until its processes have ended, but is no longer ready.
fn endpoint(spec: &ServiceSpec, pod: &Pod) -> Option<Value> {
    let address = pod
        .status
        .as_ref()?
        .pod_ip
        .as_deref()
        .filter(|address| !address.is_empty())?;
    let serving = ready_condition(pod).is_some();
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let published = spec.publish_not_ready_addresses == Some(true);
    Some(json!({
        "addresses": [address],
        "conditions": {
            "ready": published || (serving && !terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "nodeName": pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()),
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
        },
    }))
}

fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<Value> {
    let ports = spec.ports.iter().flatten();
    ports
        .filter_map(|port| {
            let number = match &port.target_port {
                None => port.port,
                Some(IntOrString::Int(number)) => *number,
                Some(IntOrString::String(name)) => container_port(pod, name)?,
            };
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            Some(json!({"name": port.name.as_deref().unwrap_or_default(), "port": number, "protocol": protocol}))
        })
        .collect()
}

fn container_port(pod: &Pod, name: &str) -> Option<i32> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .find(|port| port.name.as_deref() == Some(name))
        .map(|port| port.container_port)
}

fn slice(service: &Service, spec: &ServiceSpec, group: &Group) -> Value {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if spec.cluster_ip.as_deref() == Some("None") {
        labels.insert("service.kubernetes.io/headless".to_owned(), String::new());
    }
    json!({
        "metadata": {
            "generateName": format!("{name}-"),
            "namespace": service.metadata.namespace,
            "labels": labels,
            "ownerReferences": [controller_reference(&Resource::Services, &service.metadata)],
        },
        "addressType": "IPv4",
        "ports": group.ports,
        "endpoints": group.endpoints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::settle::Settling;

    fn service(change: impl FnOnce(&mut Value)) -> Service {
        let mut service = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "s"},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
        });
        change(&mut service);
        serde_json::from_value(service).unwrap()
    }

    fn pod(name: &str, port: u16, change: impl FnOnce(&mut Value)) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
            "status": {
                "phase": "Running",
                "podIP": "127.9.128.1",
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        change(&mut pod);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn groups_of(service: &Service, pods: &[Arc<Pod>]) -> Vec<Group> {
        groups(service.spec.as_ref().unwrap(), pods)
    }

    fn conditions(service: &Service, pod: Arc<Pod>) -> Value {
        groups_of(service, &[pod])[0].endpoints[0]["conditions"].clone()
    }

    #[test]
    fn a_terminating_pod_serves_but_is_not_ready() {
        let pod = pod("p", 8080, |pod| {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into()
        });
        let expected = json!({"ready": false, "serving": true, "terminating": true});
        assert_eq!(conditions(&service(|_| {}), pod), expected);
    }

    #[test]
    fn an_unready_pod_is_listed_and_may_be_published() {
        let unready = || {
            pod("p", 8080, |pod| {
                pod["status"]["conditions"][0]["status"] = "False".into()
            })
        };
        let expected = json!({"ready": false, "serving": false, "terminating": false});
        assert_eq!(conditions(&service(|_| {}), unready()), expected);
        let publishing =
            service(|service| service["spec"]["publishNotReadyAddresses"] = true.into());
        assert_eq!(conditions(&publishing, unready())["ready"], true);
    }

    #[test]
    fn ended_pods_and_pods_without_address_are_left_out() {
        let pods = [
            pod("ended", 80, |pod| {
                pod["status"]["phase"] = "Succeeded".into()
            }),
            pod("new", 80, |pod| pod["status"]["podIP"] = Value::Null),
        ];
        assert_eq!(groups_of(&service(|_| {}), &pods), []);
    }

    #[test]
    fn a_named_port_is_looked_up_in_each_pod() {
        let pods = [
            pod("a", 8080, |_| {}),
            pod("b", 9090, |_| {}),
            pod("c", 8080, |_| {}),
        ];
        let groups = groups_of(&service(|_| {}), &pods);
        let ports = groups.iter().map(|group| group.ports[0]["port"].clone());
        assert_eq!(ports.collect::<Vec<_>>(), [8080, 9090]);
        assert_eq!(groups[0].endpoints.len(), 2);
    }

    #[test]
    fn slices_follow_pods_and_services() {
        let store = Store::new();
        let controller = Box::new(EndpointSlices::new(&store));
        let mut settling = Settling::new(&store, vec![controller]);
        let service = serde_json::to_value(service(|_| {})).unwrap();
        store.create(Resource::Services, service).unwrap();
        let mut settled = || {
            settling.settle();
            let (slices, _) = store.list(Resource::EndpointSlices, None);
            let [slice] = slices.as_slice() else {
                panic!("{slices:?}")
            };
            let endpoints = slice["endpoints"].as_array().unwrap().len();
            (object::name(slice).to_owned(), endpoints)
        };
        let (name, endpoints) = settled();
        assert_eq!(endpoints, 0);
        let pod = serde_json::to_value(&*pod("p", 80, |_| {})).unwrap();
        store.create(Resource::Pods, pod).unwrap();
        assert_eq!(settled(), (name.clone(), 1));
        let update = store.update(Resource::EndpointSlices, "default", &name, |slice| {
            slice["endpoints"] = json!([]);
        });
        update.unwrap();
        assert_eq!(
            settled(),
            (name.clone(), 1),
            "what others change is put right"
        );
        let update = store.update(Resource::Pods, "default", "p", |pod| {
            pod["metadata"]["labels"]["app"] = "other".into();
        });
        update.unwrap();
        assert_eq!(settled(), (name.clone(), 0));
        let update = store.update(Resource::Services, "default", "web", |service| {
            service["spec"]["selector"]["app"] = "other".into();
        });
        update.unwrap();
        assert_eq!(settled(), (name, 1));
    }
}
