//! Random scripts against a model that was written from the description of Hystrix instead of from the
//! code.

use proptest::prelude::*;

use super::{constant, ms};
use crate::resilience::breaker::*;

/// The breaker told as a story: every result is remembered with its time, and the window is found by
/// looking through all of them.
#[derive(Debug)]
struct Model {
    window: u64,
    bucket: u64,
    sleep: u64,
    min_calls: u64,
    failure_percent: u64,
    stale_results: StaleResults,
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
        let admitted = !self.trial_under_way && now > since + self.sleep;
        if admitted {
            self.trial_under_way = true;
            self.changes += 1;
        }
        admitted
    }

    fn record(&mut self, now: u64, outcome: Outcome, admitted_after: u32) {
        let stale = admitted_after != self.changes;
        if stale && (self.stale_results == StaleResults::Ignore || outcome == Outcome::Abandoned) {
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
        let end = self.window_start + (now - self.window_start) / self.bucket * self.bucket;
        let in_window: Vec<bool> = self
            .results
            .iter()
            .filter(|(at, _)| *at < end && *at + self.window >= end)
            .map(|(_, failed)| *failed)
            .collect();
        let failures = in_window.iter().filter(|failed| **failed).count() as f64;
        let calls = in_window.len() as f64;
        if self.open_since.is_none()
            && calls >= self.min_calls as f64
            && calls > 0.0
            && (failures * 100.0 / calls).floor() >= self.failure_percent as f64
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

fn some_model() -> impl Strategy<Value = Model> {
    let stale_results = prop_oneof![Just(StaleResults::Count), Just(StaleResults::Ignore)];
    let times = (1_u64..4, 1_u64..30, 0_u64..60);
    (times, 0_u64..6, 0_u64..=100, stale_results).prop_map(
        |((buckets, bucket, sleep), min_calls, failure_percent, stale_results)| Model {
            window: buckets * bucket,
            bucket,
            sleep,
            min_calls,
            failure_percent,
            stale_results,
            results: Vec::new(),
            window_start: 0,
            open_since: None,
            trial_under_way: false,
            changes: 0,
        },
    )
}

impl Model {
    fn settings(&self) -> BreakerSettings {
        BreakerSettings {
            window: Window::Time {
                length: ms(self.window),
                bucket: ms(self.bucket),
                evaluate: Evaluate::Tick,
            },
            min_calls: self.min_calls,
            failure_percent: self.failure_percent,
            open: constant(self.sleep),
            stale_results: self.stale_results,
            ..super::settings()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn behaves_like_the_model(
        mut model in some_model(),
        script in proptest::collection::vec((0_u64..25, a_step()), 0..200),
    ) {
        let mut breaker = Breaker::new(model.settings(), ms(0));
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
