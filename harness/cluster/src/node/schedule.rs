//! The scheduler of a cluster with one node.

use std::sync::Arc;

use serde_json::{Value, json};

use super::NodeContext;
use crate::events::Severity;
use crate::store::{Resource, Stored};
use crate::{clock, object};

pub(super) const SCHEDULER: &str = "default-scheduler";

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
    // Whoever names another scheduler waits for that one.
    let scheduler = object::text(pod, "/spec/schedulerName");
    if object::is_deleting(pod) || !matches!(scheduler, "" | SCHEDULER) {
        return;
    }
    let node = context.store.get(Resource::Nodes, "", &context.name);
    let cordoned = match &node {
        Some(node) => node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true),
        None => true,
    };
    let recorder = &context.scheduler;
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
