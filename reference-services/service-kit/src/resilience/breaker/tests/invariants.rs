//! What holds whatever the settings and whatever happens.

use std::collections::HashMap;

use proptest::prelude::*;

use super::ms;
use crate::resilience::breaker::*;

fn some_settings() -> impl Strategy<Value = BreakerSettings> {
    let window = prop_oneof![
        (
            1_u64..4,
            1_u64..30,
            prop_oneof![
                Just(Evaluate::Tick),
                Just(Evaluate::Result),
                Just(Evaluate::Failure)
            ]
        )
            .prop_map(|(buckets, bucket, evaluate)| Window::Time {
                length: ms(buckets * bucket),
                bucket: ms(bucket),
                evaluate,
            }),
        (1_u64..8).prop_map(|calls| Window::Count { calls }),
        (1_u64..4).prop_map(|failures| Window::Consecutive { failures }),
    ];
    let decide = prop_oneof![
        Just(Decide::First),
        Just(Decide::AllRate),
        Just(Decide::AllSuccess)
    ];
    let lost_after = proptest::option::of((0_u64..100).prop_map(ms));
    let trials = (1_u64..4, decide, lost_after).prop_map(|(permits, decide, lost_after)| Trials {
        permits,
        decide,
        lost_after,
    });
    let growth = prop_oneof![
        Just(Growth::Constant),
        (0_u64..200, 0_u64..100).prop_map(|(limit, decay)| Growth::Linear {
            limit: ms(limit),
            decay: ms(decay),
        }),
    ];
    let slow = (1_u64..40, 1_u64..=100).prop_map(|(longer_than, percent)| Slow {
        longer_than: ms(longer_than),
        percent,
    });
    let open = (0_u64..60, growth).prop_map(|(first, growth)| OpenFor {
        first: ms(first),
        growth,
    });
    (
        window,
        (0_u64..6, 0_u64..=100),
        proptest::option::of(slow),
        open,
        proptest::option::of(trials),
        prop_oneof![Just(StaleResults::Count), Just(StaleResults::Ignore)],
    )
        .prop_map(
            |(window, (min_calls, failure_percent), slow, open, trials, stale_results)| {
                BreakerSettings {
                    window,
                    min_calls,
                    failure_percent,
                    slow,
                    open,
                    trials,
                    stale_results,
                }
            },
        )
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit,
    End(usize, Outcome),
    Tick,
}

fn a_step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        6 => Just(Outcome::Failure),
        1 => Just(Outcome::Rejected),
        1 => Just(Outcome::Abandoned),
    ];
    prop_oneof![
        4 => Just(Step::Admit),
        4 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
        1 => Just(Step::Tick),
    ]
}

/// What is true of a change of state between two moments, from the settings alone.
fn is_lawful(
    settings: &BreakerSettings,
    (from, to): (CircuitState, CircuitState),
    step: Step,
    open_for: u64,
) -> bool {
    use CircuitState::{Closed, HalfOpen, Open};
    let has_trials = settings.trials.is_some();
    let slept = match settings.open.growth {
        Growth::Constant => ms(open_for) > settings.open.first,
        Growth::Linear { limit, .. } => ms(open_for) > settings.open.first.min(limit),
    };
    match (from, to, step) {
        (Closed, Open, Step::End(_, outcome)) => {
            outcome != Outcome::Abandoned
                && (outcome != Outcome::Success
                    || settings.slow.is_some()
                    || is_by_result(settings))
        }
        (Closed, Open, Step::Tick) => matches!(
            settings.window,
            Window::Time {
                evaluate: Evaluate::Tick,
                ..
            }
        ),
        // The only way out of the open state is a call after the time is over.
        (Open, HalfOpen, Step::Admit) => has_trials && slept,
        (Open, Closed, Step::Admit) => !has_trials && slept,
        (HalfOpen, Open, Step::End(..)) => has_trials,
        // A failure closes nothing, unless some failures are allowed.
        (HalfOpen, Closed, Step::End(_, outcome)) => match settings.trials.map(|it| it.decide) {
            Some(Decide::AllRate) => outcome != Outcome::Abandoned,
            Some(Decide::First | Decide::AllSuccess) => outcome == Outcome::Success,
            None => false,
        },
        _ => false,
    }
}

/// A window evaluated after successes, too: the minimum may be reached with one.
fn is_by_result(settings: &BreakerSettings) -> bool {
    match settings.window {
        Window::Time { evaluate, .. } => evaluate == Evaluate::Result,
        Window::Count { .. } => true,
        Window::Consecutive { .. } => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_happens(
        settings in some_settings(),
        script in proptest::collection::vec((0_u64..25, a_step()), 0..150),
    ) {
        let mut breaker = Breaker::new(settings.clone(), ms(0));
        let permits = settings.trials.map_or(0, |trials| trials.permits);
        let mut under_way: Vec<Permit> = Vec::new();
        // Admissions less abandonments while half-open, by what the circuit calls the same trials.
        let mut trials: HashMap<u64, u64> = HashMap::new();
        let (mut now, mut opened) = (0, 0);
        for (pause, step) in script {
            now += pause;
            let (before, changes) = (breaker.state(), breaker.changes());
            match step {
                Step::Admit => {
                    let checked = breaker.check(ms(now));
                    let admitted = breaker.admit(ms(now));
                    prop_assert_eq!(checked.is_ok(), admitted.is_ok());
                    if before == CircuitState::Closed {
                        prop_assert!(admitted.is_ok());
                    }
                    if let Ok(permit) = admitted {
                        if breaker.state() == CircuitState::HalfOpen {
                            *trials.entry(breaker.changes()).or_default() += 1;
                        }
                        under_way.push(permit);
                    }
                }
                Step::End(which, outcome) if !under_way.is_empty() => {
                    let permit = under_way.swap_remove(which % under_way.len());
                    let stale = permit.generation != changes;
                    breaker.record(ms(now), outcome, permit);
                    if !stale && outcome == Outcome::Abandoned
                        && let Some(trials) = trials.get_mut(&changes)
                    {
                        *trials -= 1;
                    }
                    if stale && settings.stale_results == StaleResults::Ignore {
                        prop_assert_eq!(breaker.changes(), changes);
                    }
                }
                Step::End(..) => {}
                Step::Tick => breaker.tick(ms(now)),
            }
            let after = breaker.state();
            if before != after {
                let open_for = now - opened;
                prop_assert!(
                    is_lawful(&settings, (before, after), step, open_for),
                    "{before:?} to {after:?} by {step:?} after {open_for} ms"
                );
                prop_assert!(breaker.changes() > changes);
                if after == CircuitState::Open {
                    opened = now;
                }
            }
            if after == CircuitState::HalfOpen {
                let trials = trials.get(&breaker.changes()).copied().unwrap_or_default();
                prop_assert!(trials <= permits, "{trials} trials for {permits} permits");
            }
        }
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_breaks_nothing(
        settings in some_settings(),
        script in proptest::collection::vec((0_u64..500, a_step()), 0..150),
    ) {
        let mut breaker = Breaker::new(settings, ms(0));
        let mut under_way = Vec::new();
        for (now, step) in script {
            match step {
                Step::Admit => under_way.extend(breaker.admit(ms(now))),
                Step::End(which, outcome) if !under_way.is_empty() => {
                    let permit = under_way.swap_remove(which % under_way.len());
                    breaker.record(ms(now), outcome, permit);
                }
                Step::End(..) => {}
                Step::Tick => breaker.tick(ms(now)),
            }
        }
    }

    #[test]
    fn a_circuit_whose_calls_all_succeed_closes_and_stays_closed(
        settings in some_settings(),
        failures in 0_u32..50,
    ) {
        let mut breaker = Breaker::new(settings.clone(), ms(0));
        for at in 0..u64::from(failures) {
            if let Ok(permit) = breaker.admit(ms(at)) {
                breaker.record(ms(at), Outcome::Failure, permit);
            }
            breaker.tick(ms(at));
        }
        // With a limit of no failures at all, even good calls open.
        prop_assume!(settings.failure_percent > 0);
        let mut now = 10_000;
        for _ in 0..20 {
            now += 1_000;
            if let Ok(permit) = breaker.admit(ms(now)) {
                breaker.record(ms(now), Outcome::Success, permit);
            }
            breaker.tick(ms(now));
        }
        prop_assert_eq!(breaker.state(), CircuitState::Closed);
    }
}
