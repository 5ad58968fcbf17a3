//! Every transition with a scripted clock: first of a circuit like Hystrix's, then what others do
//! differently.

use super::*;

mod invariants;
mod model;
mod rules;

fn settings() -> BreakerSettings {
    BreakerSettings {
        window: Window::Time {
            length: ms(10_000),
            bucket: ms(500),
            evaluate: Evaluate::Tick,
        },
        min_calls: 20,
        failure_percent: 50,
        slow: None,
        open: constant(5_000),
        trials: Some(Trials {
            permits: 1,
            decide: Decide::First,
            lost_after: None,
        }),
        stale_results: StaleResults::Count,
    }
}

fn constant(millis: u64) -> OpenFor {
    OpenFor {
        first: ms(millis),
        growth: Growth::Constant,
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn closed() -> Breaker {
    Breaker::new(settings(), ms(0))
}

/// Admits and ends `count` calls at `now`.
fn calls(breaker: &mut Breaker, now: u64, count: u32, outcome: Outcome) {
    for _ in 0..count {
        let permit = breaker.admit(ms(now)).unwrap();
        breaker.record(ms(now), outcome, permit);
    }
}

/// A circuit that opened at 500 ms.
fn open() -> Breaker {
    let mut breaker = closed();
    calls(&mut breaker, 100, 20, Outcome::Failure);
    breaker.tick(ms(500));
    assert_eq!(breaker.state(), CircuitState::Open);
    breaker
}

/// The circuit of `open` with its trial under way since 5501 ms.
fn half_open() -> (Breaker, Permit) {
    let mut breaker = open();
    let trial = breaker.admit(ms(5_501)).unwrap();
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    (breaker, trial)
}

#[test]
fn opens_on_the_tick_after_the_bucket_is_complete_and_not_before() {
    let mut breaker = closed();
    calls(&mut breaker, 100, 20, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Closed);
    breaker.tick(ms(499));
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(breaker.next_tick(), Some(ms(500)));
    breaker.tick(ms(500));
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[test]
fn too_few_calls_decide_nothing() {
    let mut breaker = closed();
    calls(&mut breaker, 100, 19, Outcome::Failure);
    breaker.tick(ms(500));
    assert_eq!(breaker.state(), CircuitState::Closed);
    calls(&mut breaker, 600, 1, Outcome::Failure);
    breaker.tick(ms(1_000));
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[test]
fn the_percentage_is_rounded_down() {
    for (successes, state) in [(101, CircuitState::Closed), (100, CircuitState::Open)] {
        let mut breaker = closed();
        // 100 of 201 are 49.75 %.
        calls(&mut breaker, 100, 100, Outcome::Timeout);
        calls(&mut breaker, 100, successes, Outcome::Success);
        breaker.tick(ms(500));
        assert_eq!(breaker.state(), state);
    }
}

#[test]
fn a_quiet_window_never_opens_even_without_a_minimum() {
    let mut breaker = Breaker::new(
        BreakerSettings {
            min_calls: 0,
            failure_percent: 0,
            ..settings()
        },
        ms(0),
    );
    breaker.tick(ms(20_000));
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn failures_leave_the_window_with_their_bucket() {
    for (last_tick, state) in [(10_000, CircuitState::Open), (10_500, CircuitState::Closed)] {
        let mut breaker = closed();
        calls(&mut breaker, 100, 19, Outcome::Failure);
        calls(&mut breaker, 9_900, 1, Outcome::Failure);
        breaker.tick(ms(last_tick));
        assert_eq!(breaker.state(), state);
    }
}

#[test]
fn rejections_count_as_failures_and_abandoned_calls_not_at_all() {
    for (outcome, state) in [
        (Outcome::Rejected, CircuitState::Open),
        (Outcome::Abandoned, CircuitState::Closed),
    ] {
        let mut breaker = closed();
        calls(&mut breaker, 100, 40, outcome);
        breaker.tick(ms(500));
        assert_eq!(breaker.state(), state);
    }
}

#[test]
fn an_open_circuit_short_circuits_until_the_sleep_window_is_over() {
    let mut breaker = open();
    assert_eq!(
        breaker.admit(ms(501)),
        Err(ShortCircuited {
            retry_after: ms(4_999)
        })
    );
    assert!(breaker.admit(ms(5_500)).is_err());
    assert_eq!(breaker.state(), CircuitState::Open);
    assert!(breaker.admit(ms(5_501)).is_ok());
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
}

#[test]
fn ticks_do_not_end_the_open_state() {
    let mut breaker = open();
    breaker.tick(ms(60_000));
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[test]
fn there_is_one_trial_at_a_time() {
    let (mut breaker, _trial) = half_open();
    assert_eq!(
        breaker.admit(ms(60_000)),
        Err(ShortCircuited {
            retry_after: Duration::ZERO
        })
    );
}

#[test]
fn a_good_trial_closes_the_circuit_and_forgets_the_past() {
    let (mut breaker, trial) = half_open();
    breaker.record(ms(5_800), Outcome::Success, trial);
    assert_eq!(breaker.state(), CircuitState::Closed);
    // The window starts anew at the close: its first bucket ends 500 ms later and is empty.
    assert_eq!(breaker.next_tick(), Some(ms(6_300)));
    calls(&mut breaker, 5_900, 19, Outcome::Failure);
    breaker.tick(ms(6_300));
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a_bad_trial_opens_the_circuit_for_another_sleep_window() {
    for outcome in [
        Outcome::Failure,
        Outcome::Timeout,
        Outcome::Rejected,
        Outcome::Abandoned,
    ] {
        let (mut breaker, trial) = half_open();
        breaker.record(ms(6_000), outcome, trial);
        assert_eq!(breaker.state(), CircuitState::Open);
        assert!(breaker.admit(ms(11_000)).is_err());
        assert!(breaker.admit(ms(11_001)).is_ok());
    }
}

#[test]
fn a_stale_result_decides_the_trial_unless_it_is_ignored() {
    for (stale_results, outcome, state) in [
        (StaleResults::Count, Outcome::Success, CircuitState::Closed),
        (StaleResults::Count, Outcome::Failure, CircuitState::Open),
        (
            StaleResults::Count,
            Outcome::Abandoned,
            CircuitState::HalfOpen,
        ),
        (
            StaleResults::Ignore,
            Outcome::Success,
            CircuitState::HalfOpen,
        ),
        (
            StaleResults::Ignore,
            Outcome::Failure,
            CircuitState::HalfOpen,
        ),
    ] {
        let mut breaker = Breaker::new(
            BreakerSettings {
                stale_results,
                ..settings()
            },
            ms(0),
        );
        let slow = breaker.admit(ms(0)).unwrap();
        calls(&mut breaker, 100, 20, Outcome::Failure);
        breaker.tick(ms(500));
        let _trial = breaker.admit(ms(5_501)).unwrap();
        breaker.record(ms(5_600), outcome, slow);
        assert_eq!(breaker.state(), state, "{stale_results:?} {outcome:?}");
    }
}

#[test]
fn late_ticks_only_delay_the_decision() {
    let mut breaker = closed();
    calls(&mut breaker, 100, 20, Outcome::Failure);
    breaker.tick(ms(9_999));
    assert_eq!(breaker.state(), CircuitState::Open);
}
