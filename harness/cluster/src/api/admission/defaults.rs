//! The values of fields that were left out.

use serde_json::{Value, json};

use crate::custom::definition;
use crate::object;
use crate::store::Resource;

/// Fills in what the client left out, as a real API server does on each write.
pub(in crate::api) fn set_defaults(resource: &Resource, object: &mut Value) {
    match resource {
        Resource::Pods => pod_spec(object::map_at(object, "spec")),
        Resource::Deployments => deployment(object::map_at(object, "spec")),
        Resource::ReplicaSets => replica_set(object::map_at(object, "spec")),
        Resource::Jobs => super::job::set_defaults(object),
        Resource::HorizontalPodAutoscalers => {
            super::autoscaler::set_defaults(object::map_at(object, "spec"));
        }
        Resource::Services => service(object::map_at(object, "spec")),
        Resource::CustomResourceDefinitions => definition::set_defaults(object),
        Resource::Custom(custom) => custom.version().schema.set_defaults(object),
        Resource::Namespaces
        | Resource::Nodes
        | Resource::ConfigMaps
        | Resource::Events
        | Resource::EndpointSlices
        | Resource::PodDisruptionBudgets
        | Resource::Leases
        | Resource::PodMetrics
        | Resource::NodeMetrics => {}
    }
}

/// Sets a field which is absent.
pub(super) fn default(object: &mut Value, field: &str, value: impl Into<Value>) {
    if object[field].is_null() {
        object[field] = value.into();
    }
}

/// The elements of a list which may be absent.
fn elements<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object
        .get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

fn deployment(spec: &mut Value) {
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    let strategy = object::map_at(spec, "strategy");
    if object::text(strategy, "/type").is_empty() {
        strategy["type"] = "RollingUpdate".into();
    }
    if strategy["type"] == "RollingUpdate" {
        let rolling = object::map_at(strategy, "rollingUpdate");
        default(rolling, "maxSurge", "25%");
        default(rolling, "maxUnavailable", "25%");
    }
    pod_spec(object::map_at(object::map_at(spec, "template"), "spec"));
}

fn replica_set(spec: &mut Value) {
    default(spec, "replicas", 1);
    pod_spec(object::map_at(object::map_at(spec, "template"), "spec"));
}

fn service(spec: &mut Value) {
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", "SingleStack");
    default(spec, "internalTrafficPolicy", "Cluster");
    for port in elements(spec, "ports") {
        default(port, "protocol", "TCP");
        let number = port["port"].clone();
        default(port, "targetPort", number);
    }
}

pub(super) fn pod_spec(spec: &mut Value) {
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    default(spec, "enableServiceLinks", true);
    for list in ["initContainers", "containers"] {
        elements(spec, list).for_each(container);
    }
}

fn container(container: &mut Value) {
    let policy = if is_latest(object::text(container, "/image")) {
        "Always"
    } else {
        "IfNotPresent"
    };
    default(container, "imagePullPolicy", policy);
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    requests_from_limits(&mut container["resources"]);
    for port in elements(container, "ports") {
        default(port, "protocol", "TCP");
    }
    for variable in elements(container, "env") {
        if let Some(reference) = variable
            .pointer_mut("/valueFrom/fieldRef")
            .filter(|field| field.is_object())
        {
            default(reference, "apiVersion", "v1");
        }
    }
    for name in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if let Some(found) = container.get_mut(name).filter(|found| found.is_object()) {
            probe(found);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(found) = container.pointer_mut(&format!("/lifecycle/{hook}")) {
            http_get(found);
        }
    }
}

fn requests_from_limits(resources: &mut Value) {
    let limits = object::string_map(resources, "/limits");
    for (name, quantity) in limits {
        default(object::map_at(resources, "requests"), &name, quantity);
    }
}

/// Whether an image has the tag `latest`, which is also the default.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn probe(probe: &mut Value) {
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        // Zero says nothing, like absence.
        if probe[field] == 0 {
            probe[field] = Value::Null;
        }
        default(probe, field, value);
    }
    http_get(probe);
}

fn http_get(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet").filter(|get| get.is_object()) {
        default(get, "scheme", "HTTP");
        default(get, "path", "/");
    }
}
