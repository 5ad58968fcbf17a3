//! HorizontalPodAutoscalers (`autoscaling/v2`): their defaults and what they may say.

use serde_json::{Value, json};

use super::NOT_SUPPORTED;
use super::defaults::default;
use crate::api::error::{Cause, CauseReason};
use crate::object::{self, text};
use crate::quantity::Quantity;

const DEFAULT_UTILIZATION: i64 = 80;
const LONGEST_STABILIZATION_SECONDS: i64 = 3600;
const LONGEST_POLICY_PERIOD_SECONDS: i64 = 1800;

/// What pods are measured for.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

pub(super) fn set_defaults(spec: &mut Value) {
    default(spec, "minReplicas", 1);
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        spec["metrics"] = json!([{
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": DEFAULT_UTILIZATION},
            },
        }]);
    }
    let Some(behavior) = spec.get_mut("behavior").filter(|given| given.is_object()) else {
        return;
    };
    let everything = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let four_pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let up = object::map_at(behavior, "scaleUp");
    set_rule_defaults(up, json!([four_pods, everything]));
    default(up, "stabilizationWindowSeconds", 0);
    // Downwards the window is an option of the controller.
    set_rule_defaults(object::map_at(behavior, "scaleDown"), json!([everything]));
}

fn set_rule_defaults(rules: &mut Value, policies: Value) {
    default(rules, "selectPolicy", "Max");
    default(rules, "policies", policies);
}

pub(super) fn check(spec: &Value, causes: &mut Vec<Cause>) {
    let whole = |field: &str| spec[field].as_i64().unwrap_or_default();
    let (min, max) = (whole("minReplicas"), whole("maxReplicas"));
    if min < 1 {
        invalid(
            causes,
            "spec.minReplicas",
            min,
            "must be greater than or equal to 1",
        );
    }
    if max < 1 {
        invalid(causes, "spec.maxReplicas", max, "must be greater than 0");
    } else if max < min {
        let message = "must be greater than or equal to `minReplicas`";
        invalid(causes, "spec.maxReplicas", max, message);
    }
    for field in ["kind", "name"] {
        if text(&spec["scaleTargetRef"], &format!("/{field}")).is_empty() {
            required(causes, format!("spec.scaleTargetRef.{field}"), "");
        }
    }
    let metrics = spec["metrics"].as_array().into_iter().flatten();
    for (index, metric) in metrics.enumerate() {
        check_metric(metric, &format!("spec.metrics[{index}]"), causes);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules.is_object() {
            check_rules(rules, &format!("spec.behavior.{direction}"), causes);
        }
    }
}

fn check_metric(metric: &Value, path: &str, causes: &mut Vec<Cause>) {
    let source_name = match text(metric, "/type") {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "" => {
            return required(
                causes,
                format!("{path}.type"),
                "must specify a metric source type",
            );
        }
        other @ ("Pods" | "Object" | "External") => {
            let message = format!("{other} metrics: {NOT_SUPPORTED}");
            return causes.push(Cause::new(
                CauseReason::Forbidden,
                format!("{path}.type"),
                message,
            ));
        }
        other => {
            let known = "supported values: \"ContainerResource\", \"Resource\"";
            return invalid(causes, &format!("{path}.type"), other, known);
        }
    };
    for other in [
        "resource",
        "containerResource",
        "pods",
        "object",
        "external",
    ] {
        if other != source_name && metric.get(other).is_some_and(|given| !given.is_null()) {
            let message = "must populate the given metric source only";
            causes.push(Cause::new(
                CauseReason::Forbidden,
                format!("{path}.{other}"),
                message,
            ));
        }
    }
    check_source(metric, source_name, path, causes);
}

fn check_source(metric: &Value, source_name: &str, path: &str, causes: &mut Vec<Cause>) {
    let source = &metric[source_name];
    let path = format!("{path}.{source_name}");
    if !source.is_object() {
        let message = "must populate information for the given metric source";
        return required(causes, path, message);
    }
    match text(source, "/name") {
        "" => required(
            causes,
            format!("{path}.name"),
            "must specify a resource name",
        ),
        name if RESOURCES.contains(&name) => {}
        name => {
            let message =
                format!("{name}: only cpu and memory are measured, others are {NOT_SUPPORTED}");
            causes.push(Cause::new(
                CauseReason::Forbidden,
                format!("{path}.name"),
                message,
            ));
        }
    }
    if source_name == "containerResource" && text(source, "/container").is_empty() {
        required(
            causes,
            format!("{path}.container"),
            "must specify a container",
        );
    }
    check_target(&source["target"], &format!("{path}.target"), causes);
}

fn check_target(target: &Value, path: &str, causes: &mut Vec<Cause>) {
    match text(target, "/type") {
        "" => required(
            causes,
            format!("{path}.type"),
            "must specify a metric target type",
        ),
        "Utilization" | "AverageValue" | "Value" => {}
        other => {
            let known = "supported values: \"AverageValue\", \"Utilization\", \"Value\"";
            invalid(causes, &format!("{path}.type"), other, known);
        }
    }
    let given = |field: &str| target.get(field).is_some_and(|value| !value.is_null());
    if given("value") {
        let message = "must not be set for a resource: set averageUtilization or averageValue";
        causes.push(Cause::new(
            CauseReason::Forbidden,
            format!("{path}.value"),
            message,
        ));
    }
    match (given("averageUtilization"), given("averageValue")) {
        (false, false) => {
            let message = "must set either a target raw value or a target utilization";
            required(causes, format!("{path}.averageUtilization"), message);
        }
        (true, true) => {
            let message = "may not set both a target raw value and a target utilization";
            causes.push(Cause::new(
                CauseReason::Forbidden,
                format!("{path}.averageValue"),
                message,
            ));
        }
        (true, false) => {
            let utilization = target["averageUtilization"].as_i64().unwrap_or_default();
            if utilization < 1 {
                let field = format!("{path}.averageUtilization");
                invalid(causes, &field, utilization, "must be greater than 0");
            }
        }
        (false, true) => {
            let value = text(target, "/averageValue");
            if !Quantity::parse(value).is_some_and(Quantity::is_positive) {
                let message = "must be a quantity greater than 0";
                invalid(causes, &format!("{path}.averageValue"), value, message);
            }
        }
    }
}

fn check_rules(rules: &Value, path: &str, causes: &mut Vec<Cause>) {
    let window = rules["stabilizationWindowSeconds"]
        .as_i64()
        .unwrap_or_default();
    if !(0..=LONGEST_STABILIZATION_SECONDS).contains(&window) {
        let message = format!("must be between 0 and {LONGEST_STABILIZATION_SECONDS}, inclusive");
        invalid(
            causes,
            &format!("{path}.stabilizationWindowSeconds"),
            window,
            &message,
        );
    }
    let select = text(rules, "/selectPolicy");
    if !matches!(select, "Max" | "Min" | "Disabled") {
        let known = "supported values: \"Disabled\", \"Max\", \"Min\"";
        invalid(causes, &format!("{path}.selectPolicy"), select, known);
    }
    if rules.get("tolerance").is_some_and(|given| !given.is_null()) {
        let field = format!("{path}.tolerance");
        causes.push(Cause::new(CauseReason::Forbidden, field, NOT_SUPPORTED));
    }
    let policies = rules["policies"].as_array().map(Vec::as_slice);
    if policies.is_none_or(<[Value]>::is_empty) {
        required(
            causes,
            format!("{path}.policies"),
            "must specify at least one Policy",
        );
    }
    for (index, policy) in policies.into_iter().flatten().enumerate() {
        let path = format!("{path}.policies[{index}]");
        let kind = text(policy, "/type");
        if !matches!(kind, "Pods" | "Percent") {
            let known = "supported values: \"Percent\", \"Pods\"";
            invalid(causes, &format!("{path}.type"), kind, known);
        }
        let value = policy["value"].as_i64().unwrap_or_default();
        if value < 1 {
            invalid(
                causes,
                &format!("{path}.value"),
                value,
                "must be greater than zero",
            );
        }
        let period = policy["periodSeconds"].as_i64().unwrap_or_default();
        if !(1..=LONGEST_POLICY_PERIOD_SECONDS).contains(&period) {
            let message =
                format!("must be between 1 and {LONGEST_POLICY_PERIOD_SECONDS}, inclusive");
            invalid(causes, &format!("{path}.periodSeconds"), period, &message);
        }
    }
}

fn invalid(causes: &mut Vec<Cause>, field: &str, value: impl Into<Value>, message: &str) {
    let message = format!("{}: {message}", value.into());
    causes.push(Cause::new(CauseReason::Invalid, field, message));
}

fn required(causes: &mut Vec<Cause>, field: String, message: &str) {
    causes.push(Cause::new(CauseReason::Required, field, message));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(spec: &Value) -> Vec<String> {
        let mut causes = Vec::new();
        check(spec, &mut causes);
        causes.into_iter().map(|cause| cause.field).collect()
    }

    fn spec() -> Value {
        json!({
            "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        })
    }

    #[test]
    fn defaults_are_those_of_a_real_cluster() {
        let mut spec = spec();
        set_defaults(&mut spec);
        assert_eq!(spec["minReplicas"], 1);
        let target = &spec["metrics"][0]["resource"]["target"];
        assert_eq!(target["averageUtilization"], 80);
        assert!(spec.get("behavior").is_none_or(Value::is_null));
        assert_eq!(fields(&spec), Vec::<String>::new());

        spec["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 60}});
        set_defaults(&mut spec);
        let rules = &spec["behavior"];
        assert_eq!(rules["scaleUp"]["stabilizationWindowSeconds"], 0);
        assert_eq!(rules["scaleUp"]["policies"].as_array().unwrap().len(), 2);
        let down = json!({
            "stabilizationWindowSeconds": 60, "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        });
        assert_eq!(rules["scaleDown"], down);
        assert_eq!(fields(&spec), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_told_by_its_field() {
        let mut wrong = spec();
        set_defaults(&mut wrong);
        wrong["minReplicas"] = 6.into();
        wrong["scaleTargetRef"]["name"] = "".into();
        wrong["metrics"] = json!([
            {"type": "Pods", "pods": {}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}},
            {"type": "ContainerResource", "containerResource": {
                "name": "nvidia.com/gpu", "target": {"type": "AverageValue", "averageValue": "0"},
            }},
        ]);
        wrong["behavior"] = json!({"scaleUp": {
            "stabilizationWindowSeconds": 3601, "selectPolicy": "Most", "tolerance": "0.2",
            "policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}],
        }});
        assert_eq!(
            fields(&wrong),
            [
                "spec.maxReplicas",
                "spec.scaleTargetRef.name",
                "spec.metrics[0].type",
                "spec.metrics[1].resource.target.averageUtilization",
                "spec.metrics[2].containerResource.name",
                "spec.metrics[2].containerResource.container",
                "spec.metrics[2].containerResource.target.averageValue",
                "spec.behavior.scaleUp.stabilizationWindowSeconds",
                "spec.behavior.scaleUp.selectPolicy",
                "spec.behavior.scaleUp.tolerance",
                "spec.behavior.scaleUp.policies[0].value",
                "spec.behavior.scaleUp.policies[0].periodSeconds",
            ]
        );
    }
}
