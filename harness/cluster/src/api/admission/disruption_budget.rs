//! PodDisruptionBudgets: what they may say.

use serde_json::Value;

use crate::api::error::{Cause, CauseReason};

const POLICIES: [&str; 2] = ["IfHealthyBudget", "AlwaysAllow"];

pub(super) fn check(spec: &Value, causes: &mut Vec<Cause>) {
    let is_set = |field: &str| !spec[field].is_null();
    if is_set("minAvailable") && is_set("maxUnavailable") {
        let message = "minAvailable and maxUnavailable cannot be both set";
        causes.push(Cause::new(CauseReason::Invalid, "spec", message));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if is_set(field) && !is_number_or_percentage(&spec[field]) {
            let message = format!(
                "{}: must be a whole number of at least 0 or a percentage from 0% to 100%",
                spec[field]
            );
            causes.push(Cause::new(
                CauseReason::Invalid,
                format!("spec.{field}"),
                message,
            ));
        }
    }
    let policy = &spec["unhealthyPodEvictionPolicy"];
    if !policy.is_null() && !POLICIES.iter().any(|known| policy == known) {
        let message = format!("{policy}: supported values: {}", POLICIES.join(", "));
        let field = "spec.unhealthyPodEvictionPolicy";
        causes.push(Cause::new(CauseReason::Invalid, field, message));
    }
}

fn is_number_or_percentage(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64().is_some(),
        Value::String(text) => text
            .strip_suffix('%')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u8>().ok())
            .is_some_and(|percent| percent <= 100),
        _ => false,
    }
}
