use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(300);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn policy(type_: &str, value: i32, period_seconds: i32) -> HPAScalingPolicy {
    HPAScalingPolicy {
        type_: type_.to_owned(),
        value,
        period_seconds,
    }
}

fn rules(select: &str, policies: Vec<HPAScalingPolicy>) -> HPAScalingRules {
    HPAScalingRules {
        policies: Some(policies),
        select_policy: Some(select.to_owned()),
        ..HPAScalingRules::default()
    }
}

/// What a `behavior` is when nothing of it is given.
fn default_rules() -> (HPAScalingRules, HPAScalingRules) {
    let up = vec![policy("Pods", 4, 15), policy("Percent", 100, 15)];
    let down = vec![policy("Percent", 100, 15)];
    (rules("Max", up), rules("Max", down))
}

fn range(current: i32, min: i32, max: i32) -> Range {
    Range { current, min, max }
}

#[test]
fn without_behavior_replicas_double_or_become_four() {
    let reason = |limited: Limited| (limited.replicas, limited.limit.map(|(reason, _)| reason));
    for (current, desired, expected) in [
        (1, 100, (4, Some("ScaleUpLimit"))),
        (3, 100, (6, Some("ScaleUpLimit"))),
        (10, 19, (19, None)),
        (30, 100, (50, Some("TooManyReplicas"))),
        (10, 1, (2, Some("TooFewReplicas"))),
        (10, 2, (2, None)),
    ] {
        assert_eq!(
            reason(range(current, 2, 50).limit(desired)),
            expected,
            "{current} → {desired}"
        );
    }
}

#[test]
fn the_highest_recommendation_of_the_window_holds() {
    let mut history = History::default();
    history.begin(5, at(0));
    let mut stabilized = |second, desired| {
        let now = at(second);
        history.begin(1, now);
        history.stabilize(desired, now, WINDOW).replicas
    };
    assert_eq!(stabilized(0, 2), 5, "what it found counts too");
    assert_eq!(stabilized(150, 3), 5);
    assert_eq!(stabilized(299, 1), 5, "not within five minutes");
    assert_eq!(stabilized(301, 1), 3);
    assert_eq!(stabilized(310, 8), 8, "upwards at once");
    assert_eq!(stabilized(600, 1), 8);
    assert_eq!(stabilized(611, 1), 1);
}

#[test]
fn both_windows_hold_the_replicas_near_what_they_are() {
    let mut history = History::default();
    history.begin(5, at(0));
    let windows = (Duration::from_secs(60), Duration::from_secs(120));
    let mut stabilized = |second, current, desired| {
        let stabilized = history.stabilize_both_ways((current, desired), at(second), windows);
        let reason = stabilized.held_back.map(|(reason, _)| reason);
        (stabilized.replicas, reason)
    };
    assert_eq!(stabilized(30, 5, 9), (5, Some("ScaleUpStabilized")));
    assert_eq!(stabilized(61, 5, 9), (9, None), "the lowest since is 9");
    assert_eq!(stabilized(70, 9, 2), (9, Some("ScaleDownStabilized")));
    assert_eq!(stabilized(182, 9, 2), (2, None), "the highest since is 2");
}

#[test]
fn policies_limit_the_rate() {
    let (default_up, default_down) = default_rules();
    let history = History::default();
    let limit = |up: &HPAScalingRules, down: &HPAScalingRules, current, desired| {
        let limited = range(current, 1, 100).limit_rate(desired, (up, down), &history, at(0));
        (limited.replicas, limited.limit.map(|(reason, _)| reason))
    };
    assert_eq!(
        limit(&default_up, &default_down, 1, 100),
        (5, Some("ScaleUpLimit"))
    );
    assert_eq!(
        limit(&default_up, &default_down, 10, 100),
        (20, Some("ScaleUpLimit"))
    );
    assert_eq!(
        limit(&default_up, &default_down, 60, 200),
        (100, Some("TooManyReplicas"))
    );
    assert_eq!(limit(&default_up, &default_down, 10, 1), (1, None));
    assert_eq!(
        limit(&default_up, &default_down, 10, 0),
        (1, Some("TooFewReplicas"))
    );
    // A bound that is as near as the rate permits is the one that is told.
    let limit_in = |range: Range, desired| {
        let limited = range.limit_rate(desired, (&default_up, &default_down), &history, at(0));
        (limited.replicas, limited.limit.map(|(reason, _)| reason))
    };
    assert_eq!(
        limit_in(range(10, 0, 20), 30),
        (20, Some("TooManyReplicas"))
    );
    assert_eq!(limit_in(range(10, 0, 20), -1), (0, Some("TooFewReplicas")));
    let tenth = || vec![policy("Percent", 10, 60), policy("Pods", 2, 60)];
    let (most, least, never) = (
        rules("Max", tenth()),
        rules("Min", tenth()),
        rules("Disabled", tenth()),
    );
    // Upwards percents are rounded up, downwards the rest is cut off.
    assert_eq!(
        limit(&least, &least, 12, 50),
        (14, Some("ScaleUpLimit")),
        "13.2 → 14"
    );
    assert_eq!(limit(&most, &most, 12, 50), (14, Some("ScaleUpLimit")));
    assert_eq!(limit(&most, &most, 12, 1), (10, Some("ScaleDownLimit")));
    assert_eq!(
        limit(&least, &least, 25, 1),
        (23, Some("ScaleDownLimit")),
        "22.5 → 22, 23"
    );
    assert_eq!(limit(&never, &never, 12, 50), (12, Some("ScaleUpLimit")));
    assert_eq!(limit(&never, &never, 12, 1), (12, Some("ScaleDownLimit")));
}

#[test]
fn limits_count_from_the_start_of_their_period() {
    let up = rules("Max", vec![policy("Pods", 4, 60)]);
    let down = rules("Max", vec![policy("Pods", 1, 60)]);
    let mut history = History::default();
    let period = Duration::from_secs(60);
    let limit = |history: &History, current, desired, second| {
        let range = range(current, 1, 100);
        range
            .limit_rate(desired, (&up, &down), history, at(second))
            .replicas
    };
    history.scaled(2, 5, at(0), period);
    assert_eq!(limit(&history, 5, 50, 30), 6, "three of four are used up");
    assert_eq!(limit(&history, 5, 50, 61), 9, "a new period");
    history.scaled(6, 5, at(90), period);
    assert_eq!(limit(&history, 5, 1, 100), 5, "one was taken away already");
    assert_eq!(limit(&history, 5, 50, 100), 10, "from six on");
    assert_eq!(limit(&history, 5, 1, 151), 4);
}

proptest! {
    #[test]
    fn without_behavior_no_tick_is_out_of_bounds(
        current in 0_i32..200, min in 1_i32..50, more in 0_i32..100, desired in 0_i32..1000,
    ) {
        let max = min + more;
        prop_assume!((min..=max).contains(&current));
        let replicas = range(current, min, max).limit(desired).replicas;
        prop_assert!((min..=max).contains(&replicas));
        prop_assert!(replicas <= (2 * current).max(4));
    }

    #[test]
    fn with_behavior_no_tick_is_out_of_bounds(
        current in 0_i32..200, min in 1_i32..50, more in 0_i32..100, desired in 0_i32..1000,
        policies in prop::collection::vec((any::<bool>(), 1_i32..200, 1_i32..1800), 1..4),
        select in prop::sample::select(vec!["Max", "Min", "Disabled"]),
        changes in prop::collection::vec((0_i64..2000, -20_i32..20), 0..6),
    ) {
        let max = min + more;
        prop_assume!((min..=max).contains(&current));
        let policies: Vec<HPAScalingPolicy> = policies
            .into_iter()
            .map(|(pods, value, period)| policy(if pods { "Pods" } else { "Percent" }, value, period))
            .collect();
        let rules = rules(select, policies);
        let mut history = History::default();
        for (second, change) in changes {
            history.scaled(current, current + change, at(second), Duration::from_secs(1800));
        }
        let limited = range(current, min, max).limit_rate(desired, (&rules, &rules), &history, at(2000));
        prop_assert!((min..=max).contains(&limited.replicas));
        prop_assert!(limited.replicas >= current.min(desired) && limited.replicas <= current.max(desired.max(min)));
    }

    /// Whatever is recommended, replicas do not fall below what was recommended in the window.
    #[test]
    fn nothing_falls_within_the_window(desired in prop::collection::vec(1_i32..50, 1..40)) {
        let mut history = History::default();
        history.begin(20, at(0));
        for (tick, recommended) in (0_i64..).zip(&desired) {
            let now = at(15 * tick);
            let stabilized = history.stabilize(*recommended, now, WINDOW).replicas;
            let first = usize::try_from(tick - 19).unwrap_or(0);
            let highest = desired[first..=usize::try_from(tick).unwrap()].iter().max().copied();
            let found = (tick < 20).then_some(20);
            prop_assert_eq!(Some(stabilized), highest.max(found));
        }
    }
}
