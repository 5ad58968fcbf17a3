//! The cells of each kind.

mod autoscaler;
mod job;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::clock;
use crate::custom::{CellType, Column};
use crate::object::{self, text};
use crate::selector::Selector;
use crate::store::Resource;

const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";
const ENDPOINTS_SHOWN: usize = 3;

/// The cells of a row, wide ones included.
pub(super) fn cells(resource: &Resource, object: &Value, now: Timestamp) -> Vec<String> {
    let name = object::name(object).to_owned();
    let age = age(text(object, "/metadata/creationTimestamp"), now);
    match resource {
        Resource::Pods => pod(object, name, age, now),
        Resource::Deployments => deployment(object, name, age),
        Resource::ReplicaSets => replica_set(object, name, age),
        Resource::Jobs => job::cells(object, name, age, now),
        Resource::Services => service(object, name, age),
        Resource::EndpointSlices => endpoint_slice(object, name, age),
        Resource::Nodes => node(object, name, age),
        Resource::Events => event(object, name, now),
        Resource::HorizontalPodAutoscalers => autoscaler::autoscaler(object, name, age),
        Resource::PodMetrics | Resource::NodeMetrics => autoscaler::metrics(object, name),
        Resource::PodDisruptionBudgets => disruption_budget(object, name, age),
        Resource::Leases => vec![name, text(object, "/spec/holderIdentity").to_owned(), age],
        Resource::Namespaces => vec![name, text(object, "/status/phase").to_owned(), age],
        Resource::CustomResourceDefinitions => {
            vec![name, text(object, "/metadata/creationTimestamp").to_owned()]
        }
        Resource::Custom(custom) => {
            let columns = custom.version().columns.iter();
            let cells = columns.map(|column| custom_cell(column, object, now));
            std::iter::once(name).chain(cells).collect()
        }
        Resource::ConfigMaps => {
            let entries = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
            vec![
                name,
                (entries("data") + entries("binaryData")).to_string(),
                age,
            ]
        }
    }
}

/// The cell of a column which a definition adds; empty when there is no value.
fn custom_cell(column: &Column, object: &Value, now: Timestamp) -> String {
    match (column.cell_type, column.path.first(object)) {
        (_, None | Some(Value::Null)) => String::new(),
        (CellType::Date, Some(time)) => age(time.as_str().unwrap_or_default(), now),
        (_, Some(Value::String(text))) => text.clone(),
        (_, Some(value)) => value.to_string(),
    }
}

fn disruption_budget(budget: &Value, name: String, age: String) -> Vec<String> {
    let limit = |field: &str| match &budget["spec"][field] {
        Value::Null => "N/A".to_owned(),
        Value::String(percentage) => percentage.clone(),
        number => number.to_string(),
    };
    vec![
        name,
        limit("minAvailable"),
        limit("maxUnavailable"),
        whole(budget, "/status/disruptionsAllowed").to_string(),
        age,
    ]
}

fn or_none(text: &str) -> String {
    if text.is_empty() {
        NONE.to_owned()
    } else {
        text.to_owned()
    }
}

fn whole(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn age(since: &str, now: Timestamp) -> String {
    match since.parse::<Timestamp>() {
        Ok(since) => human_duration(clock::seconds_since(since, now)),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// A duration as kubectl writes ages: two units at most, one for long times.
fn human_duration(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const YEAR: u64 = 365 * DAY;
    let pair = |unit: u64, letter: &str, part: u64, part_letter: &str| {
        let rest = seconds % unit / part;
        let rest = if rest == 0 {
            String::new()
        } else {
            format!("{rest}{part_letter}")
        };
        format!("{}{letter}{rest}", seconds / unit)
    };
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=599 => pair(MINUTE, "m", 1, "s"),
        600..=10_799 => format!("{}m", seconds / MINUTE),
        10_800..=28_799 => pair(HOUR, "h", MINUTE, "m"),
        28_800..=172_799 => format!("{}h", seconds / HOUR),
        172_800..=691_199 => pair(DAY, "d", HOUR, "h"),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => pair(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

fn pod(pod: &Value, name: String, age: String, now: Timestamp) -> Vec<String> {
    let statuses = list(pod, "/status/containerStatuses");
    let ready = statuses
        .iter()
        .filter(|status| status["ready"] == true)
        .count();
    let total = list(pod, "/spec/containers").len();
    vec![
        name,
        format!("{ready}/{total}"),
        pod_status(pod),
        pod_restarts(statuses, now),
        age,
        or_none(text(pod, "/status/podIP")),
        or_none(text(pod, "/spec/nodeName")),
        NONE.to_owned(),
        NONE.to_owned(),
    ]
}

fn pod_status(pod: &Value) -> String {
    let phase = text(pod, "/status/phase");
    let terminal = matches!(phase, "Succeeded" | "Failed");
    if object::is_deleting(pod) && !terminal {
        return "Terminating".to_owned();
    }
    if let Some(reason) = init_status(pod) {
        return reason;
    }
    let statuses = list(pod, "/status/containerStatuses");
    let reason = statuses.iter().rev().find_map(container_reason);
    let any_running = statuses
        .iter()
        .any(|status| status["ready"] == true && status.pointer("/state/running").is_some());
    match reason {
        Some(reason) if reason == "Completed" && any_running => "Running".to_owned(),
        Some(reason) => reason,
        None => match text(pod, "/status/reason") {
            "" => phase.to_owned(),
            reason => reason.to_owned(),
        },
    }
}

/// Why a container waits or ended; nothing for a running one.
fn container_reason(status: &Value) -> Option<String> {
    let waiting = text(status, "/state/waiting/reason");
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    let terminated = status.pointer("/state/terminated")?;
    match (text(terminated, "/reason"), whole(terminated, "/signal")) {
        ("", 0) => Some(format!("ExitCode:{}", whole(terminated, "/exitCode"))),
        ("", signal) => Some(format!("Signal:{signal}")),
        (reason, _) => Some(reason.to_owned()),
    }
}

/// The status of a pod whose init containers are not through.
fn init_status(pod: &Value) -> Option<String> {
    let total = list(pod, "/spec/initContainers").len();
    let statuses = list(pod, "/status/initContainerStatuses");
    let completed =
        |status: &Value| status.pointer("/state/terminated/exitCode") == Some(&0.into());
    let (index, status) = statuses
        .iter()
        .enumerate()
        .find(|(_, status)| !completed(status))?;
    let reason = container_reason(status).filter(|reason| reason != "PodInitializing");
    Some(match reason {
        Some(reason) => format!("Init:{reason}"),
        None => format!("Init:{index}/{total}"),
    })
}

fn pod_restarts(statuses: &[Value], now: Timestamp) -> String {
    let restarts: i64 = statuses
        .iter()
        .map(|status| whole(status, "/restartCount"))
        .sum();
    let latest = statuses
        .iter()
        .map(|status| text(status, "/lastState/terminated/finishedAt"))
        .max();
    match latest {
        Some(latest) if restarts > 0 && !latest.is_empty() => {
            format!("{restarts} ({} ago)", age(latest, now))
        }
        _ => restarts.to_string(),
    }
}

/// Containers, images and selector.
fn workload_details(workload: &Value) -> [String; 3] {
    let containers = list(workload, "/spec/template/spec/containers");
    let join = |field: &str| {
        let values: Vec<_> = containers
            .iter()
            .map(|container| text(container, field))
            .collect();
        values.join(",")
    };
    let selector = serde_json::from_value(workload["spec"]["selector"].clone()).ok();
    let selector = selector.and_then(|selector| Selector::of_label_selector(&selector));
    let selector = selector
        .map(|selector| selector.to_string())
        .unwrap_or_default();
    [join("/name"), join("/image"), or_none(&selector)]
}

fn deployment(deployment: &Value, name: String, age: String) -> Vec<String> {
    let count = |field: &str| whole(deployment, &format!("/status/{field}"));
    let ready = format!(
        "{}/{}",
        count("readyReplicas"),
        whole(deployment, "/spec/replicas")
    );
    let main = [
        name,
        ready,
        count("updatedReplicas").to_string(),
        count("availableReplicas").to_string(),
        age,
    ];
    main.into_iter()
        .chain(workload_details(deployment))
        .collect()
}

fn replica_set(set: &Value, name: String, age: String) -> Vec<String> {
    let count = |pointer: &str| whole(set, pointer).to_string();
    let main = [
        name,
        count("/spec/replicas"),
        count("/status/replicas"),
        count("/status/readyReplicas"),
        age,
    ];
    main.into_iter().chain(workload_details(set)).collect()
}

fn service(service: &Value, name: String, age: String) -> Vec<String> {
    let ports: Vec<_> = list(service, "/spec/ports")
        .iter()
        .map(|port| format!("{}/{}", port["port"], text(port, "/protocol")))
        .collect();
    let selector = Selector::of_labels(&object::string_map(service, "/spec/selector"));
    vec![
        name,
        text(service, "/spec/type").to_owned(),
        or_none(text(service, "/spec/clusterIP")),
        NONE.to_owned(),
        or_none(&ports.join(",")),
        age,
        or_none(&selector.to_string()),
    ]
}

fn endpoint_slice(slice: &Value, name: String, age: String) -> Vec<String> {
    let ports: Vec<_> = list(slice, "/ports")
        .iter()
        .map(|port| port["port"].to_string())
        .collect();
    let addresses: Vec<_> = list(slice, "/endpoints")
        .iter()
        .flat_map(|endpoint| object::strings(endpoint, "/addresses"))
        .collect();
    let mut endpoints = addresses
        .iter()
        .take(ENDPOINTS_SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(",");
    if addresses.len() > ENDPOINTS_SHOWN {
        endpoints.push_str(&format!(" + {} more...", addresses.len() - ENDPOINTS_SHOWN));
    }
    let unset = |text: &str| {
        if text.is_empty() {
            "<unset>".to_owned()
        } else {
            text.to_owned()
        }
    };
    vec![
        name,
        text(slice, "/addressType").to_owned(),
        unset(&ports.join(",")),
        unset(&endpoints),
        age,
    ]
}

fn node(node: &Value, name: String, age: String) -> Vec<String> {
    let ready = list(node, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some("False") => "NotReady".to_owned(),
        _ => "Unknown".to_owned(),
    };
    if node.pointer("/spec/unschedulable") == Some(&true.into()) {
        status.push_str(",SchedulingDisabled");
    }
    let prefix = "node-role.kubernetes.io/";
    let labels = object::labels(node);
    let roles: Vec<_> = labels
        .keys()
        .filter_map(|label| label.strip_prefix(prefix))
        .collect();
    let address = |kind: &str| {
        let found = list(node, "/status/addresses")
            .iter()
            .find(|address| address["type"] == kind);
        or_none(
            found
                .map(|address| text(address, "/address"))
                .unwrap_or_default(),
        )
    };
    let info = |field: &str| or_none(text(node, &format!("/status/nodeInfo/{field}")));
    vec![
        name,
        status,
        or_none(&roles.join(",")),
        age,
        text(node, "/status/nodeInfo/kubeletVersion").to_owned(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn event(event: &Value, name: String, now: Timestamp) -> Vec<String> {
    let kind = text(event, "/involvedObject/kind").to_lowercase();
    let count = whole(event, "/count").max(1);
    let first = age(text(event, "/firstTimestamp"), now);
    let mut last = age(text(event, "/lastTimestamp"), now);
    if count > 1 {
        last = format!("{last} (x{count} over {first})");
    }
    vec![
        last,
        text(event, "/type").to_owned(),
        text(event, "/reason").to_owned(),
        format!("{kind}/{}", text(event, "/involvedObject/name")),
        text(event, "/involvedObject/fieldPath").to_owned(),
        text(event, "/source/component").to_owned(),
        text(event, "/message").trim().to_owned(),
        first,
        count.to_string(),
        name,
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_written_as_kubectl_does() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (600, "10m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (100_000, "27h"),
            (200_000, "2d7h"),
            (1_000_000, "11d"),
            (70_000_000, "2y80d"),
            (300_000_000, "9y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected);
        }
    }

    #[test]
    fn the_status_of_a_pod_is_its_worst_news() {
        let pod = |status: Value| json!({"metadata": {"name": "p"}, "status": status});
        let waiting = json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}});
        let running = json!({"ready": true, "state": {"running": {}}});
        assert_eq!(
            pod_status(&pod(
                json!({"phase": "Running", "containerStatuses": [running]})
            )),
            "Running"
        );
        let crashing = pod(json!({"phase": "Running", "containerStatuses": [waiting, running]}));
        assert_eq!(pod_status(&crashing), "CrashLoopBackOff");
        let mut deleting = crashing;
        deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(pod_status(&deleting), "Terminating");
        let done = json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        assert_eq!(
            pod_status(&pod(
                json!({"phase": "Succeeded", "containerStatuses": [done]})
            )),
            "Completed"
        );
        let init = json!({"phase": "Pending", "initContainerStatuses": [done, {"state": {"running": {}}}]});
        let mut init = pod(init);
        init["spec"] = json!({"initContainers": [{}, {}]});
        assert_eq!(pod_status(&init), "Init:1/2");
    }

    #[test]
    fn restarts_tell_when() {
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        let status = json!({"restartCount": 3, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}}});
        assert_eq!(pod_restarts(&[status], now), "3 (10s ago)");
        assert_eq!(pod_restarts(&[], now), "0");
    }
}
