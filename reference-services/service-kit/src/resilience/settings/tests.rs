//! What the environment can say about a command.

use super::*;

fn read<const N: usize>(pairs: [(&str, &str); N]) -> Result<CommandSettings, String> {
    let mut env = Env::of_pairs(pairs);
    let settings = CommandSettings::from_env(&mut env, "PAY");
    env.finish().map_err(|error| error.to_string())?;
    Ok(settings)
}

fn breaker<const N: usize>(pairs: [(&str, &str); N]) -> BreakerSettings {
    read(pairs).unwrap().breaker.unwrap()
}

#[test]
fn the_defaults_are_those_of_hystrix() {
    let settings = read([]).unwrap();
    assert_eq!(settings.timeout, Some(Duration::from_secs(1)));
    assert_eq!(settings.release, Release::OnCompletion);
    assert_eq!(settings.bulkhead, Some(BulkheadSettings::without_queue(10)));
    assert_eq!(
        settings.breaker,
        Some(BreakerSettings {
            window: Window::Time {
                length: Duration::from_secs(10),
                bucket: Duration::from_millis(500),
                evaluate: Evaluate::Tick,
            },
            min_calls: 20,
            failure_percent: 50,
            slow: None,
            open: OpenFor {
                first: Duration::from_secs(5),
                growth: Growth::Constant,
            },
            trials: Some(Trials {
                permits: 1,
                decide: Decide::First,
                lost_after: None,
            }),
            stale_results: StaleResults::Count,
        })
    );
}

/// Experiments with published figures are set so.
#[test]
fn the_rules_of_a_window_of_time_can_be_set_one_by_one() {
    let expected = BreakerSettings {
        window: Window::Time {
            length: Duration::from_secs(3),
            bucket: Duration::from_millis(150),
            evaluate: Evaluate::Tick,
        },
        min_calls: 10,
        failure_percent: 70,
        open: OpenFor {
            first: Duration::from_secs(1),
            growth: Growth::Constant,
        },
        ..Preset::Hystrix.breaker()
    };
    let set = breaker([
        ("PAY_BREAKER_WINDOW", "3s"),
        ("PAY_BREAKER_BUCKET", "150ms"),
        ("PAY_BREAKER_FAILURE_PERCENT", "70"),
        ("PAY_BREAKER_MIN_CALLS", "10"),
        ("PAY_BREAKER_SLEEP", "1s"),
    ]);
    assert_eq!(set, expected);
}

#[test]
fn everything_can_be_switched_off() {
    let settings = read([
        ("PAY_TIMEOUT", "0"),
        ("PAY_TIMEOUT_RELEASE", "on_timeout"),
        ("PAY_BULKHEAD", "0"),
        ("PAY_BREAKER", "off"),
    ])
    .unwrap();
    assert_eq!(settings.timeout, None);
    assert_eq!(settings.release, Release::OnTimeout);
    assert_eq!(settings.bulkhead, None);
    assert_eq!(settings.breaker, None);
}

#[test]
fn a_preset_is_read_as_it_is() {
    for (name, preset) in [
        ("hystrix", Preset::Hystrix),
        ("resilience4j", Preset::Resilience4j),
        ("polly", Preset::Polly),
        ("gobreaker", Preset::Gobreaker),
        ("envoy", Preset::Envoy),
    ] {
        let settings = read([("PAY_BREAKER_PRESET", name)]).unwrap();
        assert_eq!(settings.breaker, Some(preset.breaker()), "{name}");
        assert_eq!(settings.bulkhead, preset.bulkhead(), "{name}");
        assert_eq!(settings.release, preset.release(), "{name}");
    }
}

#[test]
fn each_rule_of_a_preset_has_a_variable() {
    let all = breaker([
        ("PAY_BREAKER_PRESET", "resilience4j"),
        ("PAY_BREAKER_WINDOW_CALLS", "50"),
        ("PAY_BREAKER_MIN_CALLS", "40"),
        ("PAY_BREAKER_FAILURE_PERCENT", "30"),
        ("PAY_BREAKER_SLOW", "600ms"),
        ("PAY_BREAKER_SLOW_PERCENT", "80"),
        ("PAY_BREAKER_SLEEP", "1s"),
        ("PAY_BREAKER_SLEEP_GROWTH", "linear"),
        ("PAY_BREAKER_SLEEP_LIMIT", "5s"),
        ("PAY_BREAKER_SLEEP_DECAY", "2s"),
        ("PAY_BREAKER_HALF_OPEN", "all_success"),
        ("PAY_BREAKER_HALF_OPEN_CALLS", "3"),
        ("PAY_BREAKER_LOST_TRIAL", "4s"),
        ("PAY_BREAKER_STALE_RESULTS", "ignore"),
    ]);
    let seconds = Duration::from_secs;
    assert_eq!(
        all,
        BreakerSettings {
            window: Window::Count { calls: 50 },
            min_calls: 40,
            failure_percent: 30,
            slow: Some(Slow {
                longer_than: Duration::from_millis(600),
                percent: 80,
            }),
            open: OpenFor {
                first: seconds(1),
                growth: Growth::Linear {
                    limit: seconds(5),
                    decay: seconds(2),
                },
            },
            trials: Some(Trials {
                permits: 3,
                decide: Decide::AllSuccess,
                lost_after: Some(seconds(4)),
            }),
            stale_results: StaleResults::Ignore,
        }
    );
    let consecutive = breaker([
        ("PAY_BREAKER_WINDOW_KIND", "consecutive"),
        ("PAY_BREAKER_CONSECUTIVE", "7"),
        ("PAY_BREAKER_HALF_OPEN", "none"),
    ]);
    assert_eq!(consecutive.window, Window::Consecutive { failures: 7 });
    assert_eq!(consecutive.trials, None);
    let time = breaker([
        ("PAY_BREAKER_PRESET", "envoy"),
        ("PAY_BREAKER_WINDOW_KIND", "time"),
        ("PAY_BREAKER_WINDOW", "4s"),
        ("PAY_BREAKER_BUCKET", "2s"),
        ("PAY_BREAKER_EVALUATE", "failure"),
    ]);
    assert_eq!(
        time.window,
        Window::Time {
            length: seconds(4),
            bucket: seconds(2),
            evaluate: Evaluate::Failure,
        }
    );
}

#[test]
fn a_bulkhead_may_have_a_queue() {
    let settings = read([
        ("PAY_BULKHEAD", "4"),
        ("PAY_BULKHEAD_QUEUE", "2"),
        ("PAY_BULKHEAD_QUEUE_WAIT", "100ms"),
    ]);
    let expected = BulkheadSettings {
        places: 4,
        queue: 2,
        queue_wait: Some(Duration::from_millis(100)),
    };
    assert_eq!(settings.unwrap().bulkhead, Some(expected));
    let endless = read([("PAY_BULKHEAD_QUEUE", "2"), ("PAY_TIMEOUT", "0")]);
    let message = endless.unwrap_err();
    assert!(message.contains("PAY_BULKHEAD_QUEUE_WAIT"), "{message}");
}

#[test]
fn a_queue_needs_a_bulkhead_and_its_wait_needs_a_queue() {
    for (preset, name, value, needed) in [
        ("polly", "PAY_BULKHEAD_QUEUE", "2", "PAY_BULKHEAD"),
        (
            "hystrix",
            "PAY_BULKHEAD_QUEUE_WAIT",
            "1s",
            "PAY_BULKHEAD_QUEUE",
        ),
    ] {
        let refused = read([("PAY_BREAKER_PRESET", preset), (name, value)]);
        let message = refused.unwrap_err();
        let expected = format!("has no effect without {needed}; remove it");
        assert!(
            message.contains(name) && message.ends_with(&expected),
            "{message}"
        );
    }
}

/// Experiments compare with and without a breaker by this variable alone.
#[test]
fn a_breaker_that_is_off_may_have_rules() {
    let settings = read([
        ("PAY_BREAKER", "off"),
        ("PAY_BREAKER_FAILURE_PERCENT", "70"),
    ]);
    assert_eq!(settings.unwrap().breaker, None);
}

#[test]
fn a_window_is_a_whole_number_of_buckets() {
    for (window, bucket) in [("10s", "3s"), ("10s", "0"), ("0", "1s"), ("1001ms", "1ms")] {
        let refused = read([
            ("PAY_BREAKER_WINDOW", window),
            ("PAY_BREAKER_BUCKET", bucket),
        ]);
        let message = refused.unwrap_err();
        assert!(message.contains("PAY_BREAKER_WINDOW"), "{message}");
    }
    read([("PAY_BREAKER_WINDOW", "1s"), ("PAY_BREAKER_BUCKET", "1ms")]).unwrap();
}

#[test]
fn a_share_is_from_one_to_a_hundred_percent() {
    for name in ["PAY_BREAKER_FAILURE_PERCENT", "PAY_BREAKER_SLOW_PERCENT"] {
        for percent in ["0", "101"] {
            let refused = read([("PAY_BREAKER_PRESET", "resilience4j"), (name, percent)]);
            assert_eq!(
                refused.unwrap_err(),
                format!("invalid settings: {name}={percent:?}: must be between 1 and 100")
            );
        }
    }
}

#[test]
fn variables_without_effect_are_mistakes() {
    for (preset, name) in [
        ("hystrix", "PAY_BREAKER_CONSECUTIVE"),
        ("hystrix", "PAY_BREAKER_WINDOW_CALLS"),
        ("hystrix", "PAY_BREAKER_SLOW_PERCENT"),
        ("hystrix", "PAY_BREAKER_SLEEP_LIMIT"),
        ("resilience4j", "PAY_BREAKER_WINDOW"),
        ("resilience4j", "PAY_BREAKER_BUCKET"),
        ("envoy", "PAY_BREAKER_MIN_CALLS"),
        ("envoy", "PAY_BREAKER_FAILURE_PERCENT"),
        ("envoy", "PAY_BREAKER_HALF_OPEN_CALLS"),
        ("gobreaker", "PAY_BREAKER_EVALUATE"),
    ] {
        let refused = read([("PAY_BREAKER_PRESET", preset), (name, "1")]);
        let message = refused.unwrap_err();
        assert!(
            message.contains(&format!("{name}=\"1\": has no effect")),
            "{message}"
        );
    }
}

#[test]
fn zero_is_refused_where_one_is_the_least() {
    for (kind, name) in [
        ("count", "PAY_BREAKER_WINDOW_CALLS"),
        ("consecutive", "PAY_BREAKER_CONSECUTIVE"),
        ("time", "PAY_BREAKER_HALF_OPEN_CALLS"),
    ] {
        let message = read([("PAY_BREAKER_WINDOW_KIND", kind), (name, "0")]).unwrap_err();
        assert!(message.contains(&format!("{name}=0")), "{message}");
    }
}
