//! The node's object, and the lease by which it says that it lives.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, interval_at};

use super::NodeContext;
use crate::store::{Resource, StoreError};
use crate::{clock, object};

/// What kubectl shows as the node's version.
const KUBELET_VERSION: &str = "v1.33.0";
const POD_CAPACITY: &str = "1000";

const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: u64 = 40;
const LEASE_RENEWAL: Duration = Duration::from_secs(10);
/// The node's status is written after so many renewals of its lease.
const RENEWALS_PER_REPORT: u32 = 30;

/// Creates the Node and its lease.
pub(super) fn register(context: &NodeContext) {
    let created = context.store.create(Resource::Nodes, node(&context.name));
    let node = match created {
        Ok(node) => node,
        Err(StoreError::AlreadyExists { .. }) => return,
        Err(error) => return tracing::error!(%error, "the node is not registered"),
    };
    let lease = lease(&context.name, object::uid(&node));
    match context.store.create(Resource::Leases, lease) {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
        Err(error) => tracing::error!(%error, "the node has no lease"),
    }
}

/// Goes on saying that the node lives until it ends.
pub(super) async fn stay(context: &NodeContext) {
    let mut renewals = interval_at(Instant::now() + LEASE_RENEWAL, LEASE_RENEWAL);
    for count in 1_u32.. {
        tokio::select! {
            () = context.ending.cancelled() => return,
            _ = renewals.tick() => {}
        }
        renew(context);
        if count % RENEWALS_PER_REPORT == 0 {
            report(context);
        }
    }
}

fn renew(context: &NodeContext) {
    let renewed = context
        .store
        .update(Resource::Leases, LEASE_NAMESPACE, &context.name, |lease| {
            lease["spec"]["holderIdentity"] = context.name.clone().into();
            lease["spec"]["leaseDurationSeconds"] = LEASE_SECONDS.into();
            lease["spec"]["renewTime"] = clock::rfc3339_micro(clock::now_precise()).into();
        });
    match renewed {
        Ok(_) => {}
        // Somebody deleted it. The kubelet makes a new one, for the node it finds.
        Err(StoreError::NotFound { .. }) => register_lease(context),
        Err(error) => tracing::warn!(%error, "the node's lease is not renewed"),
    }
}

fn register_lease(context: &NodeContext) {
    let Some(node) = context.store.get(Resource::Nodes, "", &context.name) else {
        return;
    };
    let lease = lease(&context.name, object::uid(&node));
    if let Err(error) = context.store.create(Resource::Leases, lease) {
        tracing::warn!(%error, "the node has no lease");
    }
}

fn report(context: &NodeContext) {
    let now = clock::rfc3339(clock::now());
    let reported = context
        .store
        .update(Resource::Nodes, "", &context.name, |node| {
            let conditions = node["status"]["conditions"].as_array_mut();
            for condition in conditions.into_iter().flatten() {
                condition["lastHeartbeatTime"] = now.clone().into();
            }
        });
    if let Err(error) = reported {
        tracing::debug!(%error, "the node's status is not reported");
    }
}

fn lease(node: &str, uid: &str) -> Value {
    json!({
        "metadata": {
            "name": node,
            "namespace": LEASE_NAMESPACE,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}],
        },
        "spec": {
            "holderIdentity": node,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": clock::rfc3339_micro(clock::now_precise()),
        },
    })
}

fn node(name: &str) -> Value {
    let now = clock::rfc3339(clock::now());
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = total_memory_kib().map_or_else(|| "0".to_owned(), |kib| format!("{kib}Ki"));
    let capacity = json!({"cpu": cpus.to_string(), "memory": memory, "pods": POD_CAPACITY});
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": type_,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    json!({
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": architecture(),
            },
        },
        "spec": {},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": name},
            ],
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "nodeInfo": {
                "kubeletVersion": KUBELET_VERSION,
                "containerRuntimeVersion": concat!("holdfast://", env!("CARGO_PKG_VERSION")),
                "osImage": system_name().unwrap_or_else(|| "this machine".to_owned()),
                "kernelVersion": line_of("/proc/sys/kernel/osrelease"),
                "operatingSystem": "linux",
                "architecture": architecture(),
                "kubeProxyVersion": KUBELET_VERSION,
                "bootID": line_of("/proc/sys/kernel/random/boot_id"),
                "machineID": line_of("/etc/machine-id"),
                "systemUUID": line_of("/etc/machine-id"),
            },
        },
    })
}

/// The processor's architecture in Go's words, which is how Kubernetes writes it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The only line of a file; empty if there is no such file.
fn line_of(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn system_name() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

fn total_memory_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
