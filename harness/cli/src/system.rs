//! Brings the system under test up in a cluster, and says what keeps it from being ready.

use std::io::ErrorKind;
use std::time::Duration;

use holdfast_faults::CHAOS_LABEL;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt, discovery};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::failure::{Failure, chain};
use crate::manifests;

const FIELD_MANAGER: &str = "holdfast";
/// A Deployment that is not available by then has a problem that waiting does not solve.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// A Service that does not accept a connection by then does not accept any from here.
const REACHABLE_WITHIN: Duration = Duration::from_secs(10);
const REACHABLE_RETRY: Duration = Duration::from_millis(20);

/// Creates the namespace, with permission for faults, and applies the objects to it.
pub(crate) async fn apply(
    client: &Client,
    namespace: &str,
    objects: &[Value],
) -> Result<(), Failure> {
    create_namespace(client, namespace).await?;
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    for object in in_creation_order(objects) {
        let what = manifests::describe(object);
        let resource = resource(client, object).await?;
        let name = manifests::name(object);
        Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource)
            .patch(name, &parameters, &Patch::Apply(object))
            .await
            .map_err(|error| refused(&what, &error))?;
    }
    Ok(())
}

/// How the cluster calls the kind of an object.
pub(crate) async fn resource(client: &Client, object: &Value) -> Result<ApiResource, Failure> {
    let word = |field: &str| object[field].as_str().unwrap_or_default();
    let (group, version) = word("apiVersion")
        .split_once('/')
        .unwrap_or(("", word("apiVersion")));
    let kind = GroupVersionKind::gvk(group, version, word("kind"));
    let found = discovery::pinned_kind(client, &kind).await;
    let (resource, _) =
        found.map_err(|error| no_such_kind(&manifests::describe(object), &kind, &error))?;
    Ok(resource)
}

/// A namespace that this run creates may be broken in; one that exists says for itself whether.
async fn create_namespace(client: &Client, name: &str) -> Result<(), Failure> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace.metadata.labels = Some([(CHAOS_LABEL.to_owned(), "allowed".to_owned())].into());
    let api = Api::<Namespace>::all(client.clone());
    match api.create(&PostParams::default(), &namespace).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(refused(&format!("Namespace {name}"), &error)),
    }
}

/// Services before what uses them: a container sees the addresses of the Services that exist when
/// it starts.
pub(crate) fn in_creation_order(objects: &[Value]) -> Vec<&Value> {
    let mut ordered: Vec<&Value> = objects.iter().collect();
    ordered.sort_by_key(|object| match object["kind"].as_str() {
        Some("ConfigMap" | "Secret" | "ServiceAccount") => 0,
        Some("Service") => 1,
        _ => 2,
    });
    ordered
}

fn no_such_kind(what: &str, kind: &GroupVersionKind, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Discovery(_) | kube::Error::Api(_) => Failure::input(format!(
            "{what}: the cluster has no {} {}",
            kind.api_version(),
            kind.kind
        )),
        other => Failure::carrying_out(format!("cannot apply {what}: {}", chain(other))),
    }
}

pub(crate) fn refused(what: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => {
            Failure::input(format!("the cluster refuses {what}: {}", status.message))
        }
        other => Failure::carrying_out(format!("cannot apply {what}: {}", chain(other))),
    }
}

/// Waits until every Deployment is available; `progress` is told which one is being waited for.
pub(crate) async fn wait_ready(
    client: &Client,
    namespace: &str,
    deployments: &[String],
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), Failure> {
    let api = Api::<Deployment>::namespaced(client.clone(), namespace);
    for name in deployments {
        progress(name);
        let ready = await_condition(api.clone(), name, |found: Option<&Deployment>| {
            found.is_some_and(is_ready)
        });
        match tokio::time::timeout(READY_WITHIN, ready).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                return Err(Failure::carrying_out(format!(
                    "cannot watch deployment {name}: {error}"
                )));
            }
            Err(_elapsed) => return Err(not_ready(client, namespace, name).await),
        }
    }
    Ok(())
}

fn is_ready(deployment: &Deployment) -> bool {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= wanted
            && status.available_replicas.unwrap_or(0) >= wanted
    })
}

/// What its pods say about why a Deployment is not ready: states and last log lines.
async fn not_ready(client: &Client, namespace: &str, deployment: &str) -> Failure {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let list = pods.list(&ListParams::default()).await;
    let mut lines = Vec::new();
    for pod in list.map(|list| list.items).unwrap_or_default() {
        if !pod.name_any().starts_with(&format!("{deployment}-")) {
            continue;
        }
        lines.push(format!("  pod {}: {}", pod.name_any(), state(&pod)));
        let tail = LogParams {
            tail_lines: Some(5),
            ..LogParams::default()
        };
        let log = pods.logs(&pod.name_any(), &tail).await.unwrap_or_default();
        lines.extend(log.lines().map(|line| format!("    | {line}")));
    }
    Failure::carrying_out(format!(
        "deployment {deployment} is not available after {} s\n{}",
        READY_WITHIN.as_secs(),
        lines.join("\n")
    ))
    .hint("the pods' own words are above; fix the manifest, the image or the program")
}

fn state(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let states = containers.into_iter().map(|container| {
        let state = container.state.unwrap_or_default();
        let text = if let Some(waiting) = state.waiting {
            [waiting.reason, waiting.message]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": ")
        } else if let Some(ended) = state.terminated {
            format!("ended with code {}", ended.exit_code)
        } else if container.ready {
            "ready".to_owned()
        } else {
            "running, not ready".to_owned()
        };
        format!("{} restarts, {text}", container.restart_count)
    });
    format!("{phase}, {}", states.collect::<Vec<_>>().join("; "))
}

/// Waits until every Service with a ready endpoint accepts connections. Headless Services have no
/// proxy.
pub(crate) async fn wait_reachable(
    client: &Client,
    namespace: &str,
    services: &[String],
) -> Result<(), Failure> {
    for name in services {
        let Some(address) = cluster_address(&get_service(client, namespace, name).await?) else {
            continue;
        };
        let why = match reach(client, namespace, name, &address).await? {
            Reached::Accepted | Reached::NoEndpoint => continue,
            Reached::Refused => "refuses connections although its pods are ready".to_owned(),
            Reached::Lost(why) => format!("cannot be reached: {why}"),
        };
        return Err(Failure::carrying_out(format!(
            "service {namespace}/{name} at {address} {why}"
        )));
    }
    Ok(())
}

/// What comes of a connection to a Service.
#[derive(Debug)]
pub(crate) enum Reached {
    Accepted,
    /// The address leads to the Service, which has no ready endpoint.
    NoEndpoint,
    /// It has one, and turns connections away all the same.
    Refused,
    /// The address leads nowhere from here, for this reason.
    Lost(String),
}

/// Connects to a Service at its address. While it turns connections away although an endpoint is ready
/// it is tried again: a cluster's proxies hear of an endpoint up to a second after the API has it.
pub(crate) async fn reach(
    client: &Client,
    namespace: &str,
    service: &str,
    address: &str,
) -> Result<Reached, Failure> {
    let deadline = Instant::now() + REACHABLE_WITHIN;
    loop {
        let error = match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(Reached::Accepted),
            Ok(Err(error)) => error,
            Err(_elapsed) => {
                let within = REACHABLE_WITHIN.as_secs();
                return Ok(Reached::Lost(format!("no answer within {within} s")));
            }
        };
        if !matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
        ) {
            return Ok(Reached::Lost(error.to_string()));
        }
        if !has_ready_endpoint(client, namespace, service).await? {
            return Ok(Reached::NoEndpoint);
        }
        if Instant::now() + REACHABLE_RETRY >= deadline {
            return Ok(Reached::Refused);
        }
        sleep(REACHABLE_RETRY).await;
    }
}

async fn has_ready_endpoint(
    client: &Client,
    namespace: &str,
    service: &str,
) -> Result<bool, Failure> {
    let of_service = format!("kubernetes.io/service-name={service}");
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), namespace)
        .list(&ListParams::default().labels(&of_service))
        .await
        .map_err(|error| {
            Failure::carrying_out(format!("cannot list the endpoints of {service}: {error}"))
        })?;
    let mut endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
    Ok(endpoints.any(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|all| all.ready).unwrap_or(true)
    }))
}

/// `http://address:port` of the first port of the Service that is the load's target.
pub(crate) async fn service_url(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<String, Failure> {
    let service = get_service(client, namespace, name).await?;
    let address = cluster_address(&service).ok_or_else(|| {
        Failure::input(format!("service {namespace}/{name} has no cluster address"))
            .hint("name a Service with a clusterIP and a port, or give a url")
    })?;
    Ok(format!("http://{address}"))
}

async fn get_service(client: &Client, namespace: &str, name: &str) -> Result<Service, Failure> {
    let api = Api::<Service>::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|error| {
        Failure::carrying_out(format!(
            "cannot read service {namespace}/{name}: {}",
            chain(&error)
        ))
    })?;
    match found {
        Some(service) => Ok(service),
        None => {
            let list = api
                .list(&ListParams::default())
                .await
                .map(|list| list.items);
            let names: Vec<_> = list
                .unwrap_or_default()
                .iter()
                .map(ResourceExt::name_any)
                .collect();
            Err(
                Failure::input(format!("there is no service {namespace}/{name}"))
                    .hint(format!("there are {}", names.join(", "))),
            )
        }
    }
}

/// `address:port` of a Service's first port, unless it is headless.
fn cluster_address(service: &Service) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let address = spec
        .cluster_ip
        .as_deref()
        .filter(|address| *address != "None")?;
    let port = spec.ports.as_ref()?.first()?.port;
    Some(format!("{address}:{port}"))
}
