//! Which address leads where, from Services and EndpointSlices. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// The label by which a slice names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where the connections to one address and port of a service go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) backends: Vec<Backend>,
}

/// An endpoint that connections to a service go to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name of the pod behind it, where there is one.
    pub pod: Option<Arc<str>>,
}

/// The routes of all services with a cluster address; with `publish` also at 127.0.0.1.
pub(super) fn routes(
    services: &[Arc<Service>],
    slices: &[Arc<EndpointSlice>],
    publish: bool,
) -> BTreeMap<SocketAddr, Route> {
    let slices = by_service(slices);
    let mut routes = BTreeMap::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        // Absent for headless services, whose clients ask for the pods themselves.
        let cluster_ip = spec
            .cluster_ip
            .as_deref()
            .and_then(|ip| ip.parse::<IpAddr>().ok());
        let Some(cluster_ip) = cluster_ip else {
            continue;
        };
        let metadata = &service.metadata;
        let own = slices.get(&(metadata.namespace.as_deref(), metadata.name.as_deref()));
        let own = own.map_or(&[][..], Vec::as_slice);
        for port in spec.ports.iter().flatten() {
            let Ok(number) = u16::try_from(port.port) else {
                continue;
            };
            let route = Route {
                namespace: service.metadata.namespace.clone().unwrap_or_default(),
                service: service.metadata.name.clone().unwrap_or_default(),
                backends: backends(own, port),
            };
            if publish {
                let published = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), number);
                routes.entry(published).or_insert_with(|| route.clone());
            }
            routes.insert(SocketAddr::new(cluster_ip, number), route);
        }
    }
    routes
}

/// A namespace and the name of a service there.
type Owner<'a> = (Option<&'a str>, Option<&'a str>);

fn by_service(slices: &[Arc<EndpointSlice>]) -> BTreeMap<Owner<'_>, Vec<&EndpointSlice>> {
    let mut owned: BTreeMap<Owner<'_>, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
        let owner = (
            slice.metadata.namespace.as_deref(),
            service.map(String::as_str),
        );
        owned.entry(owner).or_default().push(slice);
    }
    owned
}

/// The ready endpoints; if there are none, those which still serve while they terminate.
fn backends(slices: &[&EndpointSlice], port: &ServicePort) -> Vec<Backend> {
    let chosen = |wanted: fn(&Endpoint) -> bool| -> Vec<Backend> {
        let mut backends: Vec<Backend> = slices
            .iter()
            .flat_map(|slice| {
                let number = port_of(slice, port);
                let endpoints = slice
                    .endpoints
                    .iter()
                    .filter(move |endpoint| wanted(endpoint));
                endpoints.filter_map(move |endpoint| {
                    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
                    Some(Backend {
                        address: SocketAddr::new(address, number?),
                        pod: pod(endpoint),
                    })
                })
            })
            .collect();
        backends.sort_unstable();
        backends.dedup_by_key(|backend| backend.address);
        backends
    };
    let ready = chosen(is_ready);
    if ready.is_empty() {
        chosen(serves_while_terminating)
    } else {
        ready
    }
}

/// The port of the slice that goes by the name of the service's port.
fn port_of(slice: &EndpointSlice, port: &ServicePort) -> Option<u16> {
    let name = port.name.as_deref().unwrap_or_default();
    let mut ports = slice.ports.iter().flatten();
    let same = ports.find(|port| port.name.as_deref().unwrap_or_default() == name)?;
    u16::try_from(same.port?).ok()
}

fn pod(endpoint: &Endpoint) -> Option<Arc<str>> {
    let target = endpoint.target_ref.as_ref()?;
    let is_pod = target.kind.as_deref() == Some("Pod");
    is_pod.then(|| target.name.as_deref().map(Arc::from))?
}

/// An absent condition means "ready".
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint
        .conditions
        .as_ref()
        .and_then(|conditions| conditions.ready)
        != Some(false)
}

fn serves_while_terminating(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_some_and(|conditions| {
        conditions.serving == Some(true) && conditions.terminating == Some(true)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn service(cluster_ip: &str) -> Arc<Service> {
        let service = json!({
            "metadata": {"name": "app", "namespace": "shop"},
            "spec": {"clusterIP": cluster_ip, "ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]},
        });
        Arc::new(from_value(service).unwrap())
    }

    fn endpoint(address: &str, ready: bool, serving: bool, terminating: bool) -> Value {
        let pod = address.replace('.', "-");
        json!({
            "addresses": [address],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            "targetRef": {"kind": "Pod", "name": pod},
        })
    }

    fn slice(namespace: &str, endpoints: &[Value]) -> Arc<EndpointSlice> {
        let slice = json!({
            "metadata": {"name": "app-1", "namespace": namespace, "labels": {SERVICE_NAME: "app"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": endpoints,
        });
        Arc::new(from_value(slice).unwrap())
    }

    fn backends_of(endpoints: &[Value]) -> Vec<String> {
        let routes = routes(
            &[service("127.80.64.1")],
            &[slice("shop", endpoints)],
            false,
        );
        let route = &routes[&"127.80.64.1:80".parse().unwrap()];
        let backends = route.backends.iter();
        let named = |backend: &Backend| (backend.address.to_string(), backend.pod.clone());
        let named = backends.map(named).map(|(address, pod)| {
            let pod = pod.expect("every endpoint has a pod");
            assert!(address.starts_with(&pod.replace('-', ".")));
            address
        });
        named.collect()
    }

    #[test]
    fn ready_endpoints_win_over_those_that_terminate() {
        let ready = endpoint("127.80.128.1", true, true, false);
        let draining = endpoint("127.80.128.2", false, true, true);
        let unready = endpoint("127.80.128.3", false, false, false);
        assert_eq!(
            backends_of(&[ready, draining.clone(), unready.clone()]),
            ["127.80.128.1:8080"]
        );
        assert_eq!(
            backends_of(&[draining, unready.clone()]),
            ["127.80.128.2:8080"]
        );
        assert!(backends_of(&[unready]).is_empty());
    }

    #[test]
    fn a_port_leads_only_to_its_namesake() {
        let ready = endpoint("127.80.128.1", true, true, false);
        let routes = routes(&[service("127.80.64.1")], &[slice("shop", &[ready])], false);
        assert!(
            routes[&"127.80.64.1:81".parse().unwrap()]
                .backends
                .is_empty()
        );
    }

    #[test]
    fn other_namespaces_and_headless_services_lead_nowhere() {
        let ready = endpoint("127.80.128.1", true, true, false);
        let slices = [slice("other", &[ready])];
        let all = routes(&[service("127.80.64.1"), service("None")], &slices, false);
        assert_eq!(all.len(), 2);
        assert!(all.values().all(|route| route.backends.is_empty()));
    }

    #[test]
    fn published_services_are_on_this_machine_too() {
        let routes = routes(&[service("127.80.64.1")], &[], true);
        assert!(routes.contains_key(&"127.0.0.1:80".parse().unwrap()));
        assert_eq!(routes.len(), 4);
    }
}
