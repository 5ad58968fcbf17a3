//! `autoscaling/v1`: autoscalers with one target, the processor's utilization. What the version
//! cannot say otherwise it says in annotations, so that nothing is lost on the way there and back.

use serde_json::{Map, Value, json};

use crate::api::error::ApiError;
use crate::object;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// The sources of metrics which are alike in both versions but for their targets.
const SOURCES: [&str; 2] = ["resource", "containerResource"];

pub(super) fn from_v2(autoscaler: &Value) -> Value {
    let mut converted = autoscaler.clone();
    converted["apiVersion"] = "autoscaling/v1".into();
    let mut said = Map::new();
    if let Some(spec) = converted.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = list(spec.remove("metrics"));
        let (utilization, rest): (Vec<_>, Vec<_>) = metrics
            .into_iter()
            .partition(|metric| cpu_utilization(metric).is_some());
        if let Some(target) = utilization.first().and_then(cpu_utilization) {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), target.into());
        }
        let rest = rest.into_iter().chain(utilization.into_iter().skip(1));
        say(&mut said, METRICS, rest.map(metric_to_v1).collect());
        if let Some(behavior) = spec
            .remove("behavior")
            .filter(|behavior| !behavior.is_null())
        {
            // In this annotation field names are those of the program, not of the API.
            said.insert(
                BEHAVIOR.to_owned(),
                recased(behavior, upper_first).to_string().into(),
            );
        }
    }
    if let Some(status) = converted.get_mut("status").and_then(Value::as_object_mut) {
        let metrics = list(status.remove("currentMetrics"));
        if let Some(current) = metrics.iter().find_map(current_cpu_utilization) {
            status.insert("currentCPUUtilizationPercentage".to_owned(), current.into());
        }
        say(
            &mut said,
            CURRENT_METRICS,
            metrics.into_iter().map(status_to_v1).collect(),
        );
        say(&mut said, CONDITIONS, list(status.remove("conditions")));
        status.entry("currentReplicas").or_insert_with(|| 0.into());
    }
    if !said.is_empty() {
        let metadata = object::map_at(&mut converted, "metadata");
        let annotations = object::map_of(&mut metadata["annotations"]);
        annotations
            .as_object_mut()
            .into_iter()
            .for_each(|annotations| {
                annotations.extend(std::mem::take(&mut said));
            });
    }
    converted
}

pub(super) fn to_v2(mut autoscaler: Value) -> Result<Value, ApiError> {
    autoscaler["apiVersion"] = "autoscaling/v2".into();
    let metrics = take_said(&mut autoscaler, METRICS)?;
    let behavior = take_said(&mut autoscaler, BEHAVIOR)?;
    let current_metrics = take_said(&mut autoscaler, CURRENT_METRICS)?;
    let conditions = take_said(&mut autoscaler, CONDITIONS)?;
    if let Some(spec) = autoscaler.get_mut("spec").and_then(Value::as_object_mut) {
        let mut metrics: Vec<Value> = list(metrics).into_iter().map(metric_to_v2).collect();
        let target = spec.remove("targetCPUUtilizationPercentage");
        if let Some(target) = target.filter(|target| !target.is_null()) {
            metrics.push(json!({
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}},
            }));
        }
        if !metrics.is_empty() {
            spec.insert("metrics".to_owned(), metrics.into());
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".to_owned(), recased(behavior, lower_first));
        }
    }
    if let Some(status) = autoscaler.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("currentCPUUtilizationPercentage");
        let current: Vec<Value> = list(current_metrics)
            .into_iter()
            .map(status_to_v2)
            .collect();
        if !current.is_empty() {
            status.insert("currentMetrics".to_owned(), current.into());
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".to_owned(), conditions);
        }
    }
    Ok(autoscaler)
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(elements)) => elements,
        Some(_) | None => Vec::new(),
    }
}

fn say(said: &mut Map<String, Value>, annotation: &str, elements: Vec<Value>) {
    if !elements.is_empty() {
        let text = Value::Array(elements).to_string();
        said.insert(annotation.to_owned(), text.into());
    }
}

/// Takes an annotation away and reads it.
fn take_said(autoscaler: &mut Value, annotation: &str) -> Result<Option<Value>, ApiError> {
    let annotations = autoscaler.pointer_mut("/metadata/annotations");
    let Some(annotations) = annotations.and_then(Value::as_object_mut) else {
        return Ok(None);
    };
    let Some(text) = annotations.remove(annotation) else {
        return Ok(None);
    };
    if annotations.is_empty() {
        object::map_at(autoscaler, "metadata")
            .as_object_mut()
            .and_then(|metadata| metadata.remove("annotations"));
    }
    serde_json::from_str(text.as_str().unwrap_or_default())
        .map(Some)
        .map_err(|error| ApiError::BadRequest(format!("annotation {annotation}: {error}")))
}

fn cpu_utilization(metric: &Value) -> Option<i64> {
    let is_cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    let target = metric.pointer("/resource/target/averageUtilization")?;
    is_cpu.then(|| target.as_i64()).flatten()
}

fn current_cpu_utilization(metric: &Value) -> Option<i64> {
    let is_cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    let current = metric.pointer("/resource/current/averageUtilization")?;
    is_cpu.then(|| current.as_i64()).flatten()
}

fn metric_to_v1(metric: Value) -> Value {
    flattened(metric, "target", "target")
}

fn status_to_v1(metric: Value) -> Value {
    flattened(metric, "current", "current")
}

/// `{target: {averageValue: x}}` becomes `{targetAverageValue: x}`.
fn flattened(mut metric: Value, nested: &str, prefix: &str) -> Value {
    for source in SOURCES {
        let Some(source) = metric.get_mut(source).and_then(Value::as_object_mut) else {
            continue;
        };
        let Some(Value::Object(values)) = source.remove(nested) else {
            continue;
        };
        for (field, value) in values {
            if field != "type" {
                source.insert(format!("{prefix}{}", upper_first(&field)), value);
            }
        }
    }
    metric
}

fn metric_to_v2(metric: Value) -> Value {
    let mut metric = nested(metric, "target", "target");
    for source in SOURCES {
        let Some(target) = metric.pointer_mut(&format!("/{source}/target")) else {
            continue;
        };
        let kind = if target["averageUtilization"].is_null() {
            "AverageValue"
        } else {
            "Utilization"
        };
        target["type"] = kind.into();
    }
    metric
}

fn status_to_v2(metric: Value) -> Value {
    nested(metric, "current", "current")
}

fn nested(mut metric: Value, nest: &str, prefix: &str) -> Value {
    for source in SOURCES {
        let Some(source) = metric.get_mut(source).and_then(Value::as_object_mut) else {
            continue;
        };
        let mut values = Map::new();
        for field in ["averageUtilization", "averageValue"] {
            if let Some(value) = source.remove(&format!("{prefix}{}", upper_first(field))) {
                values.insert(field.to_owned(), value);
            }
        }
        source.insert(nest.to_owned(), values.into());
    }
    metric
}

fn recased(value: Value, rename: fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(field, value)| (rename(&field), recased(value, rename)))
            .collect(),
        Value::Array(elements) => elements
            .into_iter()
            .map(|element| recased(element, rename))
            .collect(),
        value => value,
    }
}

fn upper_first(field: &str) -> String {
    changed_first(field, |first| first.to_ascii_uppercase())
}

fn lower_first(field: &str) -> String {
    changed_first(field, |first| first.to_ascii_lowercase())
}

fn changed_first(field: &str, change: fn(char) -> char) -> String {
    let mut letters = field.chars();
    let first = letters.next().map(change);
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Value {
        json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "annotations": {"mine": "kept"}},
            "spec": {
                "minReplicas": 1,
                "maxReplicas": 5,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "metrics": [
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "64Mi"}}},
                    {"type": "ContainerResource", "containerResource": {
                        "name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 70},
                    }},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}},
            },
            "status": {
                "currentReplicas": 2,
                "desiredReplicas": 3,
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 80, "averageValue": "80m"}}},
                ],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        })
    }

    #[test]
    fn v1_says_the_rest_in_annotations() {
        let v1 = from_v2(&full());
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(v1["status"]["currentCPUUtilizationPercentage"], 80);
        assert!(v1["spec"].get("metrics").is_none() && v1["spec"].get("behavior").is_none());
        let annotations = object::string_map(&v1, "/metadata/annotations");
        assert_eq!(
            annotations[METRICS],
            r#"[{"resource":{"name":"memory","targetAverageValue":"64Mi"},"type":"Resource"},{"containerResource":{"container":"c","name":"cpu","targetAverageUtilization":70},"type":"ContainerResource"}]"#
        );
        assert!(annotations[BEHAVIOR].contains(r#""StabilizationWindowSeconds":60"#));
        assert!(annotations.contains_key(CURRENT_METRICS) && annotations.contains_key(CONDITIONS));
        assert_eq!(annotations["mine"], "kept");
    }

    #[test]
    fn nothing_is_lost_there_and_back() {
        assert_eq!(to_v2(from_v2(&full())).unwrap(), full());
        let mut bare = full();
        bare["metadata"] = json!({"name": "web"});
        bare["spec"]["metrics"] = json!([bare["spec"]["metrics"][2]]);
        bare["spec"].as_object_mut().unwrap().remove("behavior");
        assert_eq!(to_v2(from_v2(&bare)).unwrap(), bare);
    }

    #[test]
    fn an_unreadable_annotation_is_refused() {
        let mut v1 = from_v2(&full());
        v1["metadata"]["annotations"][METRICS] = "no".into();
        let error = to_v2(v1).unwrap_err().to_string();
        assert!(error.starts_with("annotation autoscaling.alpha"), "{error}");
    }
}
