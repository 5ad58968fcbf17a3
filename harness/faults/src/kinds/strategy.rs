//! How a Deployment replaces its pods, as its controller reckons it.

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::error::FaultError;

/// What the API sets where nothing is said, in percent.
const USUAL: u64 = 25;

/// How many pods stay available while all of them are replaced, of the `spec` of a Deployment.
pub(super) fn kept(spec: &Value) -> Result<u32, FaultError> {
    let strategy = serde_json::from_value(spec["strategy"].clone());
    let strategy: Option<DeploymentStrategy> = strategy.map_err(FaultError::Malformed)?;
    let strategy = strategy.unwrap_or_default();
    if strategy.type_.as_deref() == Some("Recreate") {
        return Ok(0);
    }
    let replicas = spec["replicas"].as_u64().unwrap_or(1);
    let bounds = strategy.rolling_update.unwrap_or_default();
    let surge = amount(bounds.max_surge, |share| (replicas * share).div_ceil(100));
    let missing = amount(bounds.max_unavailable, |share| replicas * share / 100);
    // One of the two must be, or nothing would ever be replaced.
    let missing = if surge == 0 { missing.max(1) } else { missing };
    let kept = replicas.saturating_sub(missing);
    Ok(u32::try_from(kept).unwrap_or(u32::MAX))
}

/// A number of pods, or a share of them in percent.
fn amount(bound: Option<IntOrString>, share: impl Fn(u64) -> u64) -> u64 {
    match bound {
        None => share(USUAL),
        Some(IntOrString::Int(pods)) => u64::try_from(pods).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|digits| digits.parse().ok());
            share(percent.unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept_of(replicas: u32, surge: &Value, unavailable: &Value) -> u32 {
        let bounds = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": bounds});
        kept(&json!({"replicas": replicas, "strategy": strategy})).unwrap()
    }

    #[test]
    fn what_may_be_missing_is_rounded_down_and_what_is_added_up() {
        for (replicas, surge, unavailable, left) in [
            (4, json!("25%"), json!("25%"), 3),
            (3, json!("25%"), json!("25%"), 3),
            (2, json!("25%"), json!("50%"), 1),
            (3, json!("25%"), json!("50%"), 2),
            (10, json!(1), json!(7), 3),
            (2, json!(1), json!(5), 0),
            (3, json!(1), json!(0), 3),
            (0, json!("25%"), json!("25%"), 0),
        ] {
            assert_eq!(
                kept_of(replicas, &surge, &unavailable),
                left,
                "{unavailable} of {replicas}"
            );
        }
    }

    #[test]
    fn where_none_is_added_one_is_missing_at_least() {
        assert_eq!(kept_of(3, &json!(0), &json!("25%")), 2);
        assert_eq!(kept_of(1, &json!("0%"), &json!("0%")), 0);
        // Rounded up, 1 % of one pod is one more.
        assert_eq!(kept_of(1, &json!("1%"), &json!("0%")), 1);
    }

    #[test]
    fn a_quarter_is_meant_where_nothing_is_said() {
        assert_eq!(kept(&json!({"replicas": 8})).unwrap(), 6);
        assert_eq!(kept(&json!({})).unwrap(), 1);
    }

    #[test]
    fn all_at_once_keeps_none() {
        let strategy = json!({"type": "Recreate"});
        assert_eq!(
            kept(&json!({"replicas": 4, "strategy": strategy})).unwrap(),
            0
        );
    }
}
