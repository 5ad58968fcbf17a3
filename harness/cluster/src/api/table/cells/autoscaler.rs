//! The cells of autoscalers and of what was measured.

use serde_json::Value;

use super::{NONE, UNKNOWN, list, text, whole};

const METRICS_SHOWN: usize = 2;

/// `Name, Reference, Targets, MinPods, MaxPods, Replicas, Age`
pub(super) fn autoscaler(autoscaler: &Value, name: String, age: String) -> Vec<String> {
    let target = &autoscaler["spec"]["scaleTargetRef"];
    vec![
        name,
        format!("{}/{}", text(target, "/kind"), text(target, "/name")),
        targets(autoscaler),
        match autoscaler
            .pointer("/spec/minReplicas")
            .and_then(Value::as_i64)
        {
            Some(min) => min.to_string(),
            None => "<unset>".to_owned(),
        },
        whole(autoscaler, "/spec/maxReplicas").to_string(),
        whole(autoscaler, "/status/currentReplicas").to_string(),
        age,
    ]
}

/// `cpu: 80%/50%`, for two metrics at most.
fn targets(autoscaler: &Value) -> String {
    let metrics = list(autoscaler, "/spec/metrics");
    if metrics.is_empty() {
        return NONE.to_owned();
    }
    let current = list(autoscaler, "/status/currentMetrics");
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .take(METRICS_SHOWN)
        .map(|(index, metric)| target(metric, current.get(index).unwrap_or(&Value::Null)))
        .collect();
    let mut shown = shown.join(", ");
    if metrics.len() > METRICS_SHOWN {
        shown.push_str(&format!(" + {} more...", metrics.len() - METRICS_SHOWN));
    }
    shown
}

fn target(metric: &Value, current: &Value) -> String {
    let source = match text(metric, "/type") {
        "ContainerResource" => "containerResource",
        _ => "resource",
    };
    let (wanted, current) = (&metric[source]["target"], &current[source]["current"]);
    let name = text(&metric[source], "/name");
    let quantity = |value: &Value| value.as_str().unwrap_or(UNKNOWN).to_owned();
    let percent = |value: &Value| match value.as_i64() {
        Some(percent) => format!("{percent}%"),
        None => UNKNOWN.to_owned(),
    };
    if wanted["averageValue"].is_null() {
        let field = "averageUtilization";
        format!(
            "{name}: {}/{}",
            percent(&current[field]),
            percent(&wanted[field])
        )
    } else {
        let field = "averageValue";
        format!(
            "{name}: {}/{}",
            quantity(&current[field]),
            quantity(&wanted[field])
        )
    }
}

/// `Name, cpu, memory, Window`: of a pod the sums of its containers.
pub(super) fn metrics(measured: &Value, name: String) -> Vec<String> {
    let containers = list(measured, "/containers");
    let usages: Vec<&Value> = if containers.is_empty() {
        vec![&measured["usage"]]
    } else {
        containers
            .iter()
            .map(|container| &container["usage"])
            .collect()
    };
    let sum = |resource: &str, unit: &str| {
        let amount = |usage: &&Value| -> u64 {
            let amount = usage[resource]
                .as_str()
                .and_then(|text| text.strip_suffix(unit));
            amount
                .and_then(|number| number.parse().ok())
                .unwrap_or_default()
        };
        format!("{}{unit}", usages.iter().map(amount).sum::<u64>())
    };
    vec![
        name,
        sum("cpu", "n"),
        sum("memory", "Ki"),
        text(measured, "/window").to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_show_what_is_and_what_is_wanted() {
        let resource = |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
        let mut autoscaler = json!({"spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 5,
            "metrics": [resource("cpu", json!({"averageUtilization": 50}))],
        }});
        let cells = |object: &Value| super::autoscaler(object, "web".to_owned(), "3s".to_owned());
        assert_eq!(
            cells(&autoscaler),
            [
                "web",
                "Deployment/web",
                "cpu: <unknown>/50%",
                "1",
                "5",
                "0",
                "3s"
            ]
        );
        let memory = json!({"type": "ContainerResource", "containerResource": {"name": "memory", "target": {"averageValue": "64Mi"}}});
        let metrics = autoscaler["spec"]["metrics"].as_array_mut().unwrap();
        metrics.extend([memory, resource("cpu", json!({"averageValue": "0.1"}))]);
        autoscaler["status"] = json!({"currentReplicas": 2, "currentMetrics": [
            {"resource": {"current": {"averageUtilization": 296, "averageValue": "296m"}}},
            {"containerResource": {"current": {"averageValue": "1k"}}},
        ]});
        assert_eq!(
            cells(&autoscaler)[2],
            "cpu: 296%/50%, memory: 1k/64Mi + 1 more..."
        );
    }

    #[test]
    fn a_pod_uses_what_its_containers_use() {
        let container = json!({"usage": {"cpu": "5n", "memory": "7Ki"}});
        let pod = json!({"window": "15s", "containers": [container, container]});
        assert_eq!(metrics(&pod, "p".to_owned()), ["p", "10n", "14Ki", "15s"]);
    }
}
