//! The scheduler of a cluster with one node, and that node's object.

use std::sync::Arc;

use serde_json::{Value, json};

use super::NodeContext;
use crate::events::{Recorder, Severity};
use crate::store::{Resource, StoreError, Stored};
use crate::{clock, object};

/// What kubectl shows as the node's version.
const KUBELET_VERSION: &str = "v1.33.0";
const POD_CAPACITY: &str = "1000";

/// Creates the Node object, ready and with this machine's capacity.
pub(super) fn register_node(context: &NodeContext) {
    let now = clock::rfc3339(clock::now());
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = total_memory_kib().map_or_else(|| "0".to_owned(), |kib| format!("{kib}Ki"));
    let capacity = json!({"cpu": cpus.to_string(), "memory": memory, "pods": POD_CAPACITY});
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let node = json!({
        "metadata": {
            "name": context.name,
            "labels": {
                "kubernetes.io/hostname": context.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": std::env::consts::ARCH,
            },
        },
        "spec": {},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": context.name},
            ],
            "conditions": [{
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }],
            "nodeInfo": {
                "kubeletVersion": KUBELET_VERSION,
                "containerRuntimeVersion": concat!("holdfast://", env!("CARGO_PKG_VERSION")),
                "osImage": "this machine",
                "kernelVersion": kernel.trim(),
                "operatingSystem": "linux",
                "architecture": std::env::consts::ARCH,
                "kubeProxyVersion": KUBELET_VERSION,
                "bootID": "",
                "machineID": "",
                "systemUUID": "",
            },
        },
    });
    match context.store.create(Resource::Nodes, node) {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
        Err(error) => tracing::error!(%error, "the node is not registered"),
    }
}

fn total_memory_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Gives every pod that has no node a place, if it can have one.
pub(super) fn bind_waiting_pods(context: &NodeContext) {
    let (pods, _) = context.store.list(Resource::Pods, None);
    for pod in pods {
        if object::text(&pod, "/spec/nodeName").is_empty() {
            bind(context, &pod);
        }
    }
}

/// Puts a pod on the node, or says why it has to wait.
pub(super) fn bind(context: &NodeContext, pod: &Arc<Stored>) {
    if object::is_deleting(pod) {
        return;
    }
    let node = context.store.get(Resource::Nodes, "", &context.name);
    let cordoned = match &node {
        Some(node) => node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true),
        None => true,
    };
    let recorder = Recorder::new(context.store.clone(), "default-scheduler");
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    let uid = object::uid(pod);
    let bound = context
        .store
        .update(Resource::Pods, namespace, name, |pod| {
            if object::uid(pod) == uid {
                let status = if cordoned { "False" } else { "True" };
                set_scheduled(pod, status);
                if !cordoned {
                    pod["spec"]["nodeName"] = context.name.clone().into();
                }
            }
        });
    match bound {
        Ok(_) if cordoned => {
            let message = "0/1 nodes are available: 1 node(s) were unschedulable";
            recorder.record(pod, Severity::Warning, "FailedScheduling", message);
        }
        Ok(_) => {
            let message = format!(
                "Successfully assigned {namespace}/{name} to {}",
                context.name
            );
            recorder.record(pod, Severity::Normal, "Scheduled", &message);
        }
        Err(error) => tracing::debug!(%error, "a pod left before it was scheduled"),
    }
}

fn set_scheduled(pod: &mut Value, status: &str) {
    let present = pod.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = present.cloned().unwrap_or_default();
    let same =
        |condition: &Value| condition["type"] == "PodScheduled" && condition["status"] == status;
    if conditions.iter().any(same) {
        return;
    }
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    let mut condition = json!({
        "type": "PodScheduled",
        "status": status,
        "lastTransitionTime": clock::rfc3339(clock::now()),
    });
    if status == "False" {
        condition["reason"] = "Unschedulable".into();
        condition["message"] = "0/1 nodes are available: 1 node(s) were unschedulable".into();
    }
    conditions.push(condition);
    object::map_at(pod, "status")["conditions"] = conditions.into();
}
