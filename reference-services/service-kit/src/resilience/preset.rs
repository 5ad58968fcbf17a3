//! The rules of breakers in common use, each as its own documentation and source have them when
//! nothing is set.

use std::time::Duration;

use super::breaker::{
    BreakerSettings, Decide, Evaluate, Growth, OpenFor, Slow, StaleResults, Trials, Window,
};
use super::bulkhead::BulkheadSettings;
use super::command::Release;
use crate::env::Env;

/// A breaker to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Looks at ten seconds every half second; one trial, whose first result decides.
    Hystrix,
    /// Looks at the last hundred calls, slow ones too; ten trials, judged by their rates.
    Resilience4j,
    /// Opens at one failure in ten, for a short time; one trial.
    Polly,
    /// Counts failures in a row, and ignores results from before the latest change.
    Gobreaker,
    /// Envoy's outlier detection, as Istio uses it: counts failures in a row, stays open longer each
    /// time, and goes back to full traffic untried.
    Envoy,
}

const CHOICES: [(&str, Preset); 5] = [
    ("hystrix", Preset::Hystrix),
    ("resilience4j", Preset::Resilience4j),
    ("polly", Preset::Polly),
    ("gobreaker", Preset::Gobreaker),
    ("envoy", Preset::Envoy),
];

impl Preset {
    /// Reads `PAY_BREAKER_PRESET` for the prefix `PAY`; the default is `hystrix`.
    pub fn from_env(env: &mut Env, prefix: &str) -> Self {
        env.choice(&format!("{prefix}_BREAKER_PRESET"), Self::Hystrix, &CHOICES)
    }

    pub fn breaker(self) -> BreakerSettings {
        let (window, min_calls, failure_percent) = self.opens();
        let seconds = Duration::from_secs;
        let constant = |first| OpenFor {
            first,
            growth: Growth::Constant,
        };
        BreakerSettings {
            window,
            min_calls,
            failure_percent,
            slow: match self {
                Self::Resilience4j => Some(Slow {
                    longer_than: seconds(60),
                    percent: 100,
                }),
                Self::Hystrix | Self::Polly | Self::Gobreaker | Self::Envoy => None,
            },
            open: match self {
                Self::Hystrix | Self::Polly => constant(seconds(5)),
                Self::Resilience4j | Self::Gobreaker => constant(seconds(60)),
                Self::Envoy => OpenFor {
                    first: seconds(30),
                    growth: Growth::Linear {
                        limit: seconds(300),
                        // One for each sweep that finds the endpoint in use.
                        decay: seconds(10),
                    },
                },
            },
            trials: self.trials(),
            stale_results: match self {
                Self::Gobreaker => StaleResults::Ignore,
                Self::Hystrix | Self::Resilience4j | Self::Polly | Self::Envoy => {
                    StaleResults::Count
                }
            },
        }
    }

    fn opens(self) -> (Window, u64, u64) {
        let time = |length, bucket, evaluate| Window::Time {
            length: Duration::from_millis(length),
            bucket: Duration::from_millis(bucket),
            evaluate,
        };
        match self {
            Self::Hystrix => (time(10_000, 500, Evaluate::Tick), 20, 50),
            Self::Resilience4j => (Window::Count { calls: 100 }, 100, 50),
            Self::Polly => (time(30_000, 3_000, Evaluate::Failure), 100, 10),
            Self::Gobreaker => (Window::Consecutive { failures: 6 }, 20, 50),
            Self::Envoy => (Window::Consecutive { failures: 5 }, 20, 50),
        }
    }

    fn trials(self) -> Option<Trials> {
        let (permits, decide, lost_after) = match self {
            Self::Hystrix => (1, Decide::First, None),
            Self::Resilience4j => (10, Decide::AllRate, None),
            Self::Polly => (1, Decide::AllSuccess, Some(Duration::from_secs(5))),
            Self::Gobreaker => (1, Decide::AllSuccess, None),
            Self::Envoy => return None,
        };
        Some(Trials {
            permits,
            decide,
            lost_after,
        })
    }

    /// `None` is no limit.
    pub fn bulkhead(self) -> Option<BulkheadSettings> {
        match self {
            Self::Hystrix => Some(BulkheadSettings::without_queue(10)),
            Self::Resilience4j => Some(BulkheadSettings::without_queue(25)),
            Self::Polly | Self::Gobreaker | Self::Envoy => None,
        }
    }

    pub fn release(self) -> Release {
        match self {
            Self::Hystrix | Self::Resilience4j => Release::OnCompletion,
            Self::Polly | Self::Gobreaker | Self::Envoy => Release::OnTimeout,
        }
    }
}
