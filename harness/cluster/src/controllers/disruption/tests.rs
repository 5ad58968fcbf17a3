use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
    let states = [vec!["True"; ready], vec!["False"; unready]].concat();
    let pod = |(number, ready): (usize, &str)| {
        let pod = json!({
            "metadata": {"name": format!("p{number}"), "namespace": "default"},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    states.into_iter().enumerate().map(pod).collect()
}

fn budget(spec: &Value, status: &Value) -> PodDisruptionBudget {
    let budget = json!({
        "metadata": {"name": "b", "namespace": "default", "generation": 3},
        "spec": spec,
        "status": status,
    });
    serde_json::from_value(budget).unwrap()
}

/// Expected, desired, healthy, allowed.
fn counts(spec: &Value, pods: &[Arc<Pod>], scale: i32) -> [i32; 4] {
    let status = plan(&budget(spec, &json!({})), pods, &Ok(scale), now()).status;
    [
        status.expected_pods,
        status.desired_healthy,
        status.current_healthy,
        status.disruptions_allowed,
    ]
}

#[test]
fn numbers_and_percentages_are_resolved_and_rounded_up() {
    let five = pods(5, 0);
    let cases = [
        (json!({"minAvailable": 3}), [5, 3, 5, 2]),
        (json!({"minAvailable": "50%"}), [5, 3, 5, 2]),
        (json!({"maxUnavailable": 1}), [5, 4, 5, 1]),
        (json!({"maxUnavailable": "30%"}), [5, 3, 5, 2]),
        (json!({"maxUnavailable": "100%"}), [5, 0, 5, 5]),
        (json!({"maxUnavailable": 9}), [5, 0, 5, 5]),
        (json!({"minAvailable": 9}), [5, 9, 5, 0]),
        (json!({}), [0, 0, 5, 0]),
    ];
    for (spec, expected) in cases {
        assert_eq!(counts(&spec, &five, 5), expected, "{spec}");
    }
}

#[test]
fn the_size_of_the_controllers_counts_not_the_pods_there_are() {
    assert_eq!(
        counts(&json!({"maxUnavailable": 1}), &pods(2, 0), 4),
        [4, 3, 2, 0]
    );
    assert_eq!(
        counts(&json!({"minAvailable": 1}), &pods(2, 0), 4),
        [2, 1, 2, 1]
    );
}

#[test]
fn only_ready_pods_which_stay_are_healthy() {
    assert_eq!(counts(&json!({"minAvailable": 1}), &pods(2, 3), 5)[2], 2);
    let mut going = pods(3, 0);
    let mut pod = Pod::clone(&going[0]);
    pod.metadata.deletion_timestamp = Some(Time(now()));
    going[0] = Arc::new(pod);
    assert_eq!(counts(&json!({"minAvailable": 1}), &going, 3)[2], 2);
}

#[test]
fn an_evicted_pod_counts_as_gone_for_a_while() {
    let status = json!({
        "disruptedPods": {
            "p0": "2026-01-01T00:09:30Z",
            "p1": "2026-01-01T00:01:00Z",
            "gone": "2026-01-01T00:09:30Z",
        },
        "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
    });
    let budget = budget(&json!({"minAvailable": 1}), &status);
    let plan = plan(&budget, &pods(3, 0), &Ok(3), now());
    let noted: Vec<_> = plan.status.disrupted_pods.unwrap().into_keys().collect();
    assert_eq!(noted, ["p0"]);
    assert_eq!(plan.status.disruptions_allowed, 1);
    assert_eq!(plan.again, Some(Duration::from_secs(90)));
}

#[test]
fn the_condition_says_whether_a_pod_may_go_and_since_when() {
    let spec = json!({"minAvailable": 2});
    let first = plan(&budget(&spec, &json!({})), &pods(3, 0), &Ok(3), now()).status;
    let condition = first.conditions.clone().unwrap().remove(0);
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("True", "SufficientPods")
    );
    assert_eq!(first.observed_generation, Some(3));
    let mut budget = budget(&spec, &json!({}));
    budget.status = Some(first);
    let later = now() + SignedDuration::from_secs(5);
    let same = plan(&budget, &pods(4, 0), &Ok(3), later).status;
    assert_eq!(
        same.conditions.unwrap()[0].last_transition_time,
        Time(now())
    );
    let other = plan(&budget, &pods(1, 0), &Ok(3), later).status;
    let condition = &other.conditions.unwrap()[0];
    assert_eq!(condition.reason, "InsufficientPods");
    assert_eq!(condition.last_transition_time, Time(later));
}

#[test]
fn a_budget_which_cannot_be_computed_allows_nothing() {
    let pod = "p0".to_owned();
    let no_scale = Err(scale::NoScale { pod });
    let budget = budget(&json!({"maxUnavailable": 1}), &json!({}));
    let plan = plan(&budget, &pods(3, 0), &no_scale, now());
    assert_eq!(plan.status.disruptions_allowed, 0);
    assert_eq!(plan.status.conditions.unwrap()[0].reason, "SyncFailed");
    assert!(plan.problem.is_some());
}
