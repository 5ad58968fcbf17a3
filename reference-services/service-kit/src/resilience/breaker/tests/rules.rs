//! What other breakers than Hystrix do.

use super::*;

fn consecutive(failures: u64) -> BreakerSettings {
    BreakerSettings {
        window: Window::Consecutive { failures },
        ..settings()
    }
}

fn count(calls: u64, min_calls: u64) -> BreakerSettings {
    BreakerSettings {
        window: Window::Count { calls },
        min_calls,
        ..settings()
    }
}

fn trials(permits: u64, decide: Decide) -> Option<Trials> {
    Some(Trials {
        permits,
        decide,
        lost_after: None,
    })
}

/// A circuit with these trials that opened at 0 and whose first trial began at 5001 ms.
fn tried(trials: Option<Trials>) -> (Breaker, Permit) {
    let settings = BreakerSettings {
        trials,
        slow: Some(Slow {
            longer_than: ms(100),
            percent: 60,
        }),
        ..count(2, 2)
    };
    let mut breaker = Breaker::new(settings, ms(0));
    calls(&mut breaker, 0, 2, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
    let trial = breaker.admit(ms(5_001)).unwrap();
    (breaker, trial)
}

#[test]
fn a_count_window_looks_at_the_last_calls_after_each() {
    let mut breaker = Breaker::new(count(4, 4), ms(0));
    // Two of four are too many, and a good past does not help.
    calls(&mut breaker, 0, 100, Outcome::Success);
    calls(&mut breaker, 1, 1, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Closed);
    calls(&mut breaker, 1, 1, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(breaker.reason(), Some(Reason::FailureRate));
    assert_eq!(breaker.next_tick(), None);
}

#[test]
fn a_full_count_window_is_enough_whatever_the_minimum() {
    for (length, min_calls, calls_needed) in [(4, 100, 4), (4, 3, 3), (4, 0, 1)] {
        let mut breaker = Breaker::new(count(length, min_calls), ms(0));
        for _ in 1..calls_needed {
            calls(&mut breaker, 0, 1, Outcome::Failure);
            assert_eq!(breaker.state(), CircuitState::Closed);
        }
        calls(&mut breaker, 0, 1, Outcome::Failure);
        assert_eq!(breaker.state(), CircuitState::Open);
    }
}

#[test]
fn a_success_ends_a_row_of_failures() {
    let mut breaker = Breaker::new(consecutive(5), ms(0));
    for _ in 0..10 {
        calls(&mut breaker, 0, 4, Outcome::Failure);
        calls(&mut breaker, 0, 1, Outcome::Success);
    }
    calls(&mut breaker, 0, 4, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Closed);
    calls(&mut breaker, 0, 1, Outcome::Timeout);
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(breaker.reason(), Some(Reason::ConsecutiveFailures));
}

#[test]
fn a_window_of_time_that_is_looked_at_at_once_includes_the_current_bucket() {
    for (evaluate, last) in [
        (Evaluate::Result, Outcome::Success),
        (Evaluate::Failure, Outcome::Failure),
    ] {
        let settings = BreakerSettings {
            window: Window::Time {
                length: ms(1_000),
                bucket: ms(100),
                evaluate,
            },
            ..settings()
        };
        let mut breaker = Breaker::new(settings, ms(0));
        calls(&mut breaker, 50, 20, Outcome::Failure);
        assert_eq!(breaker.state(), CircuitState::Open);

        let mut breaker = Breaker::new(breaker.settings, ms(0));
        calls(&mut breaker, 50, 19, Outcome::Failure);
        // The bucket of the failures is the tenth before this one.
        calls(&mut breaker, 1_050, 1, last);
        assert_eq!(breaker.state(), CircuitState::Closed);
        calls(&mut breaker, 1_050, 18, Outcome::Failure);
        assert_eq!(breaker.state(), CircuitState::Closed);
        calls(&mut breaker, 1_050, 1, last);
        assert_eq!(breaker.state(), CircuitState::Open);
    }
}

#[test]
fn only_a_failure_opens_where_only_failures_are_looked_at() {
    let settings = BreakerSettings {
        window: Window::Time {
            length: ms(1_000),
            bucket: ms(100),
            evaluate: Evaluate::Failure,
        },
        min_calls: 2,
        ..settings()
    };
    let mut breaker = Breaker::new(settings, ms(0));
    calls(&mut breaker, 0, 1, Outcome::Failure);
    calls(&mut breaker, 0, 1, Outcome::Success);
    assert_eq!(breaker.state(), CircuitState::Closed);
    calls(&mut breaker, 0, 1, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[test]
fn slow_calls_open_though_they_succeed() {
    let settings = BreakerSettings {
        slow: Some(Slow {
            longer_than: ms(100),
            percent: 100,
        }),
        ..count(2, 2)
    };
    for (duration, state) in [(100, CircuitState::Closed), (101, CircuitState::Open)] {
        let mut breaker = Breaker::new(settings.clone(), ms(0));
        let permits = [breaker.admit(ms(0)).unwrap(), breaker.admit(ms(0)).unwrap()];
        for permit in permits {
            breaker.record(ms(duration), Outcome::Success, permit);
        }
        assert_eq!(breaker.state(), state);
        if state == CircuitState::Open {
            assert_eq!(breaker.reason(), Some(Reason::SlowRate));
        }
    }
}

#[test]
fn trials_judged_by_rate_may_fail_a_little_and_must_not_be_slow() {
    let ends = |results: [(Outcome, u64); 3]| {
        let (mut breaker, first) = tried(trials(3, Decide::AllRate));
        // Two of two are enough in this window; three so that the rule is seen.
        breaker.settings.min_calls = 3;
        let others = [
            breaker.admit(ms(5_001)).unwrap(),
            breaker.admit(ms(5_001)).unwrap(),
        ];
        assert!(breaker.admit(ms(5_001)).is_err());
        for (permit, (outcome, duration)) in [first].into_iter().chain(others).zip(results) {
            assert_eq!(breaker.state(), CircuitState::HalfOpen);
            breaker.record(ms(5_001 + duration), outcome, permit);
        }
        breaker.state()
    };
    let (good, bad) = (Outcome::Success, Outcome::Failure);
    assert_eq!(ends([(good, 1), (bad, 1), (good, 1)]), CircuitState::Closed);
    assert_eq!(ends([(bad, 1), (good, 1), (bad, 1)]), CircuitState::Open);
    let slow = (good, 101);
    assert_eq!(ends([slow, slow, (good, 1)]), CircuitState::Open);
    assert_eq!(ends([slow, (good, 1), (good, 1)]), CircuitState::Closed);
}

#[test]
fn one_failed_trial_is_enough_where_all_must_succeed() {
    let (mut breaker, first) = tried(trials(2, Decide::AllSuccess));
    let second = breaker.admit(ms(5_001)).unwrap();
    breaker.record(ms(5_002), Outcome::Success, first);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    breaker.record(ms(5_003), Outcome::Failure, second);
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(breaker.reason(), Some(Reason::TrialsFailed));

    let (mut breaker, first) = tried(trials(2, Decide::AllSuccess));
    let second = breaker.admit(ms(5_001)).unwrap();
    breaker.record(ms(5_002), Outcome::Success, first);
    breaker.record(ms(5_003), Outcome::Success, second);
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(breaker.reason(), Some(Reason::TrialsPassed));
}

#[test]
fn an_abandoned_trial_among_several_is_made_again() {
    for decide in [Decide::AllRate, Decide::AllSuccess] {
        let (mut breaker, first) = tried(trials(1, decide));
        assert!(breaker.check(ms(5_002)).is_err());
        breaker.record(ms(5_002), Outcome::Abandoned, first);
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        let again = breaker.admit(ms(5_003)).unwrap();
        breaker.record(ms(5_004), Outcome::Success, again);
        assert_eq!(breaker.state(), CircuitState::Closed);
    }
}

#[test]
fn a_lost_trial_is_replaced_and_its_late_result_is_stale() {
    let lost_after = Some(ms(1_000));
    let (mut breaker, lost) = tried(Some(Trials {
        permits: 1,
        decide: Decide::AllSuccess,
        lost_after,
    }));
    breaker.settings.stale_results = StaleResults::Ignore;
    assert!(breaker.admit(ms(6_001)).is_err());
    let again = breaker.admit(ms(6_002)).unwrap();
    assert_eq!(breaker.reason(), Some(Reason::TrialsLost));
    assert!(breaker.admit(ms(6_002)).is_err());
    breaker.record(ms(6_003), Outcome::Failure, lost);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    breaker.record(ms(6_004), Outcome::Success, again);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn without_trials_an_open_circuit_closes_with_the_first_call_and_forgets_the_past() {
    let mut breaker = Breaker::new(
        BreakerSettings {
            trials: None,
            ..consecutive(2)
        },
        ms(0),
    );
    calls(&mut breaker, 0, 2, Outcome::Failure);
    assert!(breaker.admit(ms(5_000)).is_err());
    calls(&mut breaker, 5_001, 1, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(breaker.reason(), Some(Reason::SleepOver));
    calls(&mut breaker, 5_002, 1, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
}

/// A circuit without trials that stays open longer each time.
fn growing(decay: u64) -> Breaker {
    let settings = BreakerSettings {
        open: OpenFor {
            first: ms(1_000),
            growth: Growth::Linear {
                limit: ms(2_500),
                decay: ms(decay),
            },
        },
        trials: None,
        ..consecutive(1)
    };
    Breaker::new(settings, ms(0))
}

/// Has a closed circuit open at `now`, and says for how long.
fn open_at(breaker: &mut Breaker, now: u64) -> u64 {
    calls(breaker, now, 1, Outcome::Failure);
    let refused = breaker.check(ms(now)).unwrap_err();
    refused.retry_after.as_millis() as u64
}

#[test]
fn each_opening_is_longer_up_to_a_limit() {
    let mut breaker = growing(0);
    let mut now = 0;
    for expected in [1_000, 2_000, 2_500, 2_500] {
        assert_eq!(open_at(&mut breaker, now), expected);
        now += expected + 1;
    }
}

#[test]
fn openings_are_forgotten_while_the_circuit_is_closed() {
    let mut breaker = growing(10_000);
    assert_eq!(open_at(&mut breaker, 0), 1_000);
    // Closed from 1001 on with this call, and open at once.
    assert_eq!(open_at(&mut breaker, 1_001), 2_000);
    calls(&mut breaker, 3_002, 1, Outcome::Success);
    // Closed for 9999 ms: none is forgotten.
    assert_eq!(open_at(&mut breaker, 13_001), 2_500);
    calls(&mut breaker, 15_502, 1, Outcome::Success);
    // Closed for 20 s: two of three are.
    assert_eq!(open_at(&mut breaker, 35_502), 2_000);
}

#[test]
fn an_opening_that_must_not_be_leaves_nothing_behind() {
    let mut breaker = growing(0);
    calls(&mut breaker, 0, 1, Outcome::Failure);
    breaker.keep_closed(ms(0));
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(breaker.reason(), Some(Reason::TooManyOut));
    assert_eq!(open_at(&mut breaker, 1), 1_000);
}
