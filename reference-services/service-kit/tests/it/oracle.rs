//! Our breaker decides as an independent model did: see `tests/oracle/README.md`.

use std::time::Duration;

use serde::Deserialize;
use service_kit::resilience::{
    Breaker, BreakerSettings, CircuitState, Decide, Evaluate, Growth, OpenFor, Outcome, Slow,
    StaleResults, Trials, Window,
};

const HISTORIES: &str = include_str!("../oracle/histories.json");

#[derive(Deserialize)]
struct History {
    settings: Settings,
    steps: Vec<String>,
}

/// Lengths of time are in milliseconds.
#[derive(Deserialize)]
struct Settings {
    kind: Kind,
    min_calls: u64,
    fail_pct: u64,
    sleep: u64,
    half_open: u64,
    slow: Option<u64>,
    slow_pct: u64,
    consecutive: u64,
    #[serde(default)]
    window: u64,
    #[serde(default)]
    bucket: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Hystrix,
    R4jCount,
    R4jTime,
    Polly,
    Consecutive,
    Envoy,
}

impl Settings {
    fn ours(&self) -> BreakerSettings {
        let time = |evaluate| Window::Time {
            length: Duration::from_millis(self.window),
            bucket: Duration::from_millis(self.bucket),
            evaluate,
        };
        let first = Duration::from_millis(self.sleep);
        BreakerSettings {
            window: match self.kind {
                Kind::Hystrix => time(Evaluate::Tick),
                Kind::R4jTime => time(Evaluate::Result),
                Kind::Polly => time(Evaluate::Failure),
                Kind::R4jCount => Window::Count { calls: self.window },
                Kind::Consecutive | Kind::Envoy => Window::Consecutive {
                    failures: self.consecutive,
                },
            },
            min_calls: self.min_calls,
            failure_percent: self.fail_pct,
            slow: self.slow.map(|millis| Slow {
                longer_than: Duration::from_millis(millis),
                percent: self.slow_pct,
            }),
            open: OpenFor {
                first,
                growth: match self.kind {
                    Kind::Envoy => Growth::Linear {
                        limit: Duration::MAX,
                        decay: Duration::ZERO,
                    },
                    _ => Growth::Constant,
                },
            },
            trials: self.decide().map(|decide| Trials {
                permits: self.half_open,
                decide,
                lost_after: None,
            }),
            stale_results: StaleResults::Count,
        }
    }

    fn decide(&self) -> Option<Decide> {
        match self.kind {
            Kind::Hystrix => Some(Decide::First),
            Kind::R4jTime | Kind::R4jCount => Some(Decide::AllRate),
            Kind::Polly | Kind::Consecutive => Some(Decide::AllSuccess),
            Kind::Envoy => None,
        }
    }
}

fn label(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open => "open",
        CircuitState::HalfOpen => "half_open",
    }
}

/// Has our breaker decide a whole history, and returns the steps as the model would tell them.
fn replay(history: &History) -> Vec<String> {
    let mut breaker = Breaker::new(history.settings.ours(), Duration::ZERO);
    let mut permits = Vec::new();
    let mut told = Vec::new();
    for step in &history.steps {
        let words: Vec<_> = step.split(' ').collect();
        let [at, what, which, _state] = words[..] else {
            panic!("{step:?} has not four words");
        };
        let now = Duration::from_millis(at.parse().unwrap());
        while let Some(due) = breaker.next_tick().filter(|due| *due <= now) {
            breaker.tick(due);
        }
        let decided = match what {
            "admit" => match breaker.admit(now) {
                Ok(permit) => {
                    permits.push(Some(permit));
                    "yes"
                }
                Err(_) => "no",
            },
            ended => {
                let outcome = match ended {
                    "ok" => Outcome::Success,
                    "failed" => Outcome::Failure,
                    other => panic!("nothing ends {other:?}"),
                };
                let permit = permits[which.parse::<usize>().unwrap()].take();
                breaker.record(now, outcome, permit.expect("a call ends once"));
                which
            }
        };
        told.push(format!("{at} {what} {decided} {}", label(breaker.state())));
    }
    told
}

#[test]
fn every_decision_is_that_of_the_model() {
    let histories: Vec<History> = serde_json::from_str(HISTORIES).unwrap();
    for (number, history) in histories.iter().enumerate() {
        let kind = history.settings.kind;
        for (ours, expected) in replay(history).iter().zip(&history.steps) {
            assert_eq!(ours, expected, "history {number}, {kind:?}");
        }
    }
}

#[test]
fn every_kind_opens_and_closes_in_the_histories() {
    let histories: Vec<History> = serde_json::from_str(HISTORIES).unwrap();
    for kind in [
        Kind::Hystrix,
        Kind::R4jCount,
        Kind::R4jTime,
        Kind::Polly,
        Kind::Consecutive,
        Kind::Envoy,
    ] {
        let of_kind = histories.iter().filter(|it| it.settings.kind == kind);
        let closings: usize = of_kind
            .map(|history| {
                let states = history.steps.iter().map(|step| !step.ends_with("closed"));
                let states: Vec<_> = states.collect();
                states.windows(2).filter(|pair| pair[0] && !pair[1]).count()
            })
            .sum();
        assert!(closings >= 10, "{kind:?} closes {closings} times");
    }
}
