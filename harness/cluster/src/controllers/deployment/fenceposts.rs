//! How far a rollout may go above and below the desired number of pods.

use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Desired pods, and the tolerance around them, in pods.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub(super) struct Fenceposts {
    pub(super) replicas: i32,
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

impl Fenceposts {
    /// Percentages of surge are rounded up, of unavailability down. When both
    /// come to nothing one pod may be unavailable: a rollout must be able to move.
    pub(super) fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1);
        let strategy = spec.strategy.as_ref();
        let Some(rolling) = strategy.and_then(|strategy| strategy.rolling_update.as_ref()) else {
            return Self {
                replicas,
                surge: 0,
                unavailable: 0,
            };
        };
        let surge = resolve(rolling.max_surge.as_ref(), replicas, Rounding::Up);
        let unavailable =
            resolve(rolling.max_unavailable.as_ref(), replicas, Rounding::Down).min(replicas);
        let unavailable = if surge == 0 && unavailable == 0 {
            1.min(replicas)
        } else {
            unavailable
        };
        Self {
            replicas,
            surge,
            unavailable,
        }
    }

    /// As many pods as must stay available.
    pub(super) fn min_available(self) -> i32 {
        self.replicas - self.unavailable
    }

    /// As many pods as may exist.
    pub(super) fn max_total(self) -> i32 {
        self.replicas + self.surge
    }
}

#[derive(Copy, Clone)]
enum Rounding {
    Up,
    Down,
}

fn resolve(value: Option<&IntOrString>, replicas: i32, rounding: Rounding) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text
                .strip_suffix('%')
                .and_then(|digits| digits.parse().ok())
                .unwrap_or_default();
            let hundredths = percent * i64::from(replicas);
            let whole = match rounding {
                Rounding::Up => (hundredths + 99) / 100,
                Rounding::Down => hundredths / 100,
            };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn posts(
        replicas: i32,
        surge: &serde_json::Value,
        unavailable: &serde_json::Value,
    ) -> (i32, i32) {
        let spec = json!({
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            "selector": {},
            "template": {},
        });
        let posts = Fenceposts::of(&serde_json::from_value(spec).unwrap());
        (posts.surge, posts.unavailable)
    }

    #[test]
    fn a_quarter_is_rounded_in_favour_of_availability() {
        let quarter = json!("25%");
        let rounded = [1, 3, 4, 10].map(|replicas| posts(replicas, &quarter, &quarter));
        assert_eq!(rounded, [(1, 0), (1, 0), (1, 1), (3, 2)]);
    }

    #[test]
    fn a_rollout_can_always_move() {
        assert_eq!(posts(2, &json!(0), &json!("25%")), (0, 1));
        assert_eq!(posts(3, &json!(0), &json!(10)), (0, 3));
    }
}
