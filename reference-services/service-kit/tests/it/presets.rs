//! The presets in front of the same callee, in virtual time: that they differ, and how.

use std::time::Duration;

use service_kit::resilience::{Breaker, CircuitState, Outcome, Preset};

const PRESETS: [Preset; 5] = [
    Preset::Hystrix,
    Preset::Resilience4j,
    Preset::Polly,
    Preset::Gobreaker,
    Preset::Envoy,
];

/// One call every 50 ms, each of which ends before the next.
const PAUSE: u64 = 50;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What became of a load.
#[derive(Default)]
struct Ran {
    /// When the circuit changed its state, and to which.
    changes: Vec<(u64, CircuitState)>,
    short_circuited: u64,
    /// Failures that reached the caller from the callee itself.
    failed: u64,
}

impl Ran {
    fn times_of(&self, state: CircuitState) -> Vec<u64> {
        let of_state = self.changes.iter().filter(|(_, to)| *to == state);
        of_state.map(|(at, _)| *at).collect()
    }

    fn openings(&self) -> Vec<u64> {
        self.times_of(CircuitState::Open)
    }

    /// Has the breaker take one step, and notes the change it makes.
    fn step<T>(
        &mut self,
        breaker: &mut Breaker,
        now: u64,
        step: impl FnOnce(&mut Breaker) -> T,
    ) -> T {
        let before = breaker.state();
        let value = step(breaker);
        if breaker.state() != before {
            self.changes.push((now, breaker.state()));
        }
        value
    }
}

/// Calls for `length` milliseconds a callee that fails the calls that `fails` says by their number
/// and time.
fn run(preset: Preset, length: u64, fails: impl Fn(u64, u64) -> bool) -> Ran {
    let mut breaker = Breaker::new(preset.breaker(), ms(0));
    let mut ran = Ran::default();
    for number in 1..=length / PAUSE {
        let now = number * PAUSE;
        while let Some(due) = breaker.next_tick().filter(|due| *due <= ms(now)) {
            ran.step(&mut breaker, due.as_millis() as u64, |it| it.tick(due));
        }
        let Ok(permit) = ran.step(&mut breaker, now, |it| it.admit(ms(now))) else {
            ran.short_circuited += 1;
            continue;
        };
        let outcome = if fails(number, now) {
            ran.failed += 1;
            Outcome::Failure
        } else {
            Outcome::Success
        };
        ran.step(&mut breaker, now, |it| it.record(ms(now), outcome, permit));
    }
    ran
}

fn is_outage(_number: u64, now: u64) -> bool {
    (10_000..40_000).contains(&now)
}

/// Each figure follows from the description of the breaker alone: the outage begins after 199 good
/// calls, 20 calls a second.
#[test]
fn an_outage_of_half_a_minute() {
    for (preset, opened, closed, failed, short_circuited) in [
        // On the tick that sees ten seconds half of which failed; then a trial every five seconds.
        (Preset::Hystrix, 15_000, 40_250, 100 + 4, 501),
        // With the fiftieth failure among the last hundred; closes after ten trials a minute later.
        (Preset::Resilience4j, 12_450, 72_950, 50, 1_200),
        // With the failure that makes them a tenth; then a trial every five seconds.
        (Preset::Polly, 11_100, 41_400, 23 + 5, 600),
        // With the sixth failure; a trial a minute later.
        (Preset::Gobreaker, 10_250, 70_300, 6, 1_200),
        // With the fifth failure; back untried half a minute later.
        (Preset::Envoy, 10_200, 40_250, 5, 600),
    ] {
        let ran = run(preset, 200_000, is_outage);
        let closings = ran.times_of(CircuitState::Closed);
        assert_eq!(ran.openings()[0], opened, "{preset:?}");
        assert_eq!(closings, [closed], "{preset:?}");
        assert_eq!(ran.failed, failed, "{preset:?}");
        assert_eq!(ran.short_circuited, short_circuited, "{preset:?}");
    }
}

#[test]
fn only_envoy_comes_back_untried_and_stays_away_longer_each_time() {
    let ends_late = |_number, now| now >= 10_000;
    let envoy = run(Preset::Envoy, 200_000, ends_late);
    assert_eq!(envoy.openings(), [10_200, 40_450, 100_700, 190_950]);
    assert!(envoy.times_of(CircuitState::HalfOpen).is_empty());
    assert_eq!(envoy.failed, 4 * 5);
    for preset in PRESETS.into_iter().filter(|it| *it != Preset::Envoy) {
        let ran = run(preset, 200_000, ends_late);
        assert!(ran.times_of(CircuitState::Closed).is_empty(), "{preset:?}");
        let openings = ran.openings();
        let waits: Vec<_> = openings.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            waits.windows(2).all(|pair| pair[0] == pair[1]),
            "{preset:?} {waits:?}"
        );
    }
}

fn who_opens(fails: impl Fn(u64, u64) -> bool + Copy) -> Vec<Preset> {
    let opens = |preset: &Preset| !run(*preset, 200_000, fails).openings().is_empty();
    PRESETS.into_iter().filter(opens).collect()
}

#[test]
fn one_failure_in_five_is_too_much_for_one_of_them() {
    assert_eq!(who_opens(|number, _now| number % 5 == 0), [Preset::Polly]);
}

#[test]
fn failures_that_never_come_in_a_row_are_nothing_to_those_that_count_rows() {
    let half = [Preset::Hystrix, Preset::Resilience4j, Preset::Polly];
    assert_eq!(who_opens(|number, _now| number % 2 == 0), half);
}

#[test]
fn nobody_opens_without_failures() {
    assert_eq!(who_opens(|_number, _now| false), []);
}
