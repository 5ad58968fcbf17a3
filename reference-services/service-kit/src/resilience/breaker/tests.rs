//! Every transition with a scripted clock, and random scripts against a model that was written
//! from the description instead of from the code.

use super::*;
use proptest::prelude::*;

fn settings() -> BreakerSettings {
    BreakerSettings {
        window: ms(10_000),
        bucket: ms(500),
        min_calls: 20,
        failure_percent: 50,
        sleep_window: ms(5_000),
        stale_results: StaleResults::Count,
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
    assert_eq!(breaker.next_tick(), ms(500));
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
    assert_eq!(breaker.next_tick(), ms(6_300));
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

/// The breaker told as a story: every result is remembered with its time, and the window is found by
/// looking through all of them.
struct Model {
    settings: BreakerSettings,
    /// (time, failed) of every counted result since `window_start`.
    results: Vec<(u64, bool)>,
    window_start: u64,
    /// Since when the circuit is open; `None` is closed.
    open_since: Option<u64>,
    trial_under_way: bool,
    changes: u32,
}

impl Model {
    fn admit(&mut self, now: u64) -> bool {
        let Some(since) = self.open_since else {
            return true;
        };
        let admitted =
            !self.trial_under_way && now > since + self.settings.sleep_window.as_millis() as u64;
        if admitted {
            self.trial_under_way = true;
            self.changes += 1;
        }
        admitted
    }

    fn record(&mut self, now: u64, outcome: Outcome, admitted_after: u32) {
        let stale = admitted_after != self.changes;
        if stale
            && (self.settings.stale_results == StaleResults::Ignore
                || outcome == Outcome::Abandoned)
        {
            return;
        }
        if outcome != Outcome::Abandoned {
            self.results.push((now, outcome != Outcome::Success));
        }
        if !self.trial_under_way {
            return;
        }
        self.trial_under_way = false;
        self.changes += 1;
        if outcome == Outcome::Success {
            self.open_since = None;
            self.results.clear();
            self.window_start = now;
        } else {
            self.open_since = Some(now);
        }
    }

    fn tick(&mut self, now: u64) {
        let bucket = self.settings.bucket.as_millis() as u64;
        let window = self.settings.window.as_millis() as u64;
        let end = self.window_start + (now - self.window_start) / bucket * bucket;
        let in_window: Vec<bool> = self
            .results
            .iter()
            .filter(|(at, _)| *at < end && *at + window >= end)
            .map(|(_, failed)| *failed)
            .collect();
        let failures = in_window.iter().filter(|failed| **failed).count() as f64;
        let calls = in_window.len() as f64;
        if self.open_since.is_none()
            && calls >= self.settings.min_calls as f64
            && calls > 0.0
            && (failures * 100.0 / calls).floor() >= self.settings.failure_percent as f64
        {
            self.open_since = Some(now);
            self.changes += 1;
        }
    }

    fn state(&self) -> CircuitState {
        match (self.open_since, self.trial_under_way) {
            (None, _) => CircuitState::Closed,
            (Some(_), false) => CircuitState::Open,
            (Some(_), true) => CircuitState::HalfOpen,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit,
    /// Ends one of the calls under way, chosen by the number.
    End(usize, Outcome),
    Tick,
}

fn a_step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Timeout),
        1 => Just(Outcome::Rejected),
        1 => Just(Outcome::Abandoned),
    ];
    prop_oneof![
        4 => Just(Step::Admit),
        4 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
        2 => Just(Step::Tick),
    ]
}

fn some_settings() -> impl Strategy<Value = BreakerSettings> {
    (
        1_u64..4,
        1_u64..30,
        0_u64..6,
        0_u64..=100,
        0_u64..60,
        prop_oneof![Just(StaleResults::Count), Just(StaleResults::Ignore)],
    )
        .prop_map(
            |(buckets, bucket, min_calls, failure_percent, sleep, stale_results)| BreakerSettings {
                window: ms(buckets * bucket),
                bucket: ms(bucket),
                min_calls,
                failure_percent,
                sleep_window: ms(sleep),
                stale_results,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn behaves_like_the_model(
        settings in some_settings(),
        script in proptest::collection::vec((0_u64..25, a_step()), 0..200),
    ) {
        let mut breaker = Breaker::new(settings.clone(), ms(0));
        let mut model = Model {
            settings,
            results: Vec::new(),
            window_start: 0,
            open_since: None,
            trial_under_way: false,
            changes: 0,
        };
        let mut under_way = Vec::new();
        let mut now = 0;
        for (pause, step) in script {
            now += pause;
            match step {
                Step::Admit => {
                    let admitted = breaker.admit(ms(now));
                    prop_assert_eq!(admitted.is_ok(), model.admit(now));
                    under_way.extend(admitted.ok().map(|permit| (permit, model.changes)));
                }
                Step::End(which, outcome) => {
                    if !under_way.is_empty() {
                        let (permit, changes) = under_way.swap_remove(which % under_way.len());
                        breaker.record(ms(now), outcome, permit);
                        model.record(now, outcome, changes);
                    }
                }
                Step::Tick => {
                    breaker.tick(ms(now));
                    model.tick(now);
                }
            }
            prop_assert_eq!(breaker.state(), model.state());
        }
    }
}
