//! The settings of a command from the environment: a preset, and each of its rules by a variable of
//! its own.

use std::time::Duration;

use super::breaker::{
    BreakerSettings, Decide, Evaluate, Growth, OpenFor, Slow, StaleResults, Trials, Window,
};
use super::bulkhead::BulkheadSettings;
use super::command::{CommandSettings, Release};
use super::preset::Preset;
use crate::env::Env;

/// All buckets of a window are added up at each look at it.
const MOST_BUCKETS: u32 = 1000;

impl CommandSettings {
    /// Reads, for the prefix `PAY`, a default of the preset where none is named:
    /// - `PAY_BREAKER_PRESET`: `hystrix` (default), `resilience4j`, `polly`, `gobreaker` or `envoy`;
    /// - `PAY_TIMEOUT` (1 s; 0 = none) and `PAY_TIMEOUT_RELEASE` (`on_completion` or `on_timeout`);
    /// - `PAY_BULKHEAD` (calls at once; 0 = no limit), `PAY_BULKHEAD_QUEUE` (calls that wait; 0), which
    ///   needs a limit, and `PAY_BULKHEAD_QUEUE_WAIT` (0 = as long as the timeout allows), which needs
    ///   a queue;
    /// - `PAY_BREAKER` (`on` or `off`) and what [`BreakerSettings::from_env`] reads.
    pub fn from_env(env: &mut Env, prefix: &str) -> Self {
        let preset = Preset::from_env(env, prefix);
        let timeout = env.duration(&format!("{prefix}_TIMEOUT"), Duration::from_secs(1));
        let release = env.choice(
            &format!("{prefix}_TIMEOUT_RELEASE"),
            preset.release(),
            &[
                ("on_completion", Release::OnCompletion),
                ("on_timeout", Release::OnTimeout),
            ],
        );
        let bulkhead = bulkhead(env, &format!("{prefix}_BULKHEAD"), preset, timeout);
        let name = format!("{prefix}_BREAKER");
        let breaker = BreakerSettings::from_env(env, &name, preset);
        let enabled = env.choice(&name, true, &[("on", true), ("off", false)]);
        Self {
            timeout: optional(timeout),
            release,
            bulkhead,
            breaker: enabled.then_some(breaker),
        }
    }
}

fn bulkhead(
    env: &mut Env,
    prefix: &str,
    preset: Preset,
    timeout: Duration,
) -> Option<BulkheadSettings> {
    let default = preset.bulkhead().map_or(0, |bulkhead| bulkhead.places);
    let sizes = 0..=tokio::sync::Semaphore::MAX_PERMITS;
    let settings = BulkheadSettings {
        places: env.within(prefix, default, sizes.clone()),
        queue: env.within(&format!("{prefix}_QUEUE"), 0, sizes),
        queue_wait: optional(env.duration(&format!("{prefix}_QUEUE_WAIT"), Duration::ZERO)),
    };
    if settings.queue > 0 && settings.places == 0 {
        env.complain(format!(
            "{prefix}_QUEUE={}: has no effect without {prefix}; remove it",
            settings.queue
        ));
    }
    if settings.queue_wait.is_some() && settings.queue == 0 {
        env.complain(format!(
            "{prefix}_QUEUE_WAIT: has no effect without {prefix}_QUEUE; remove it"
        ));
    }
    if settings.queue > 0 && settings.queue_wait.is_none() && timeout.is_zero() {
        env.complain(format!(
            "{prefix}_QUEUE={}: needs {prefix}_QUEUE_WAIT or a timeout, else calls wait for ever",
            settings.queue
        ));
    }
    (settings.places > 0).then_some(settings)
}

impl BreakerSettings {
    /// Reads, for the prefix `PAY_BREAKER`, a default of `preset` where none is named:
    /// - `…_WINDOW_KIND`: `time`, `count` or `consecutive`;
    ///   - `time`: `…_WINDOW`, a multiple of `…_BUCKET` (1000 times at most), and `…_EVALUATE`
    ///     (`tick`, `result` or `failure`);
    ///   - `count`: `…_WINDOW_CALLS` (100);
    ///   - `consecutive`: `…_CONSECUTIVE` (5 failures in a row);
    /// - `…_MIN_CALLS`, `…_FAILURE_PERCENT`, `…_SLOW` (a call that takes longer is slow; 0 = none is)
    ///   and `…_SLOW_PERCENT` (100), where a window or trials are judged by shares; a percentage is
    ///   from 1 to 100;
    /// - `…_SLEEP` (how long the circuit stays open), `…_SLEEP_GROWTH` (`constant` or `linear`), and if
    ///   linear `…_SLEEP_LIMIT` (300 s) and `…_SLEEP_DECAY` (10 s);
    /// - `…_HALF_OPEN` (`first`, `all_rate`, `all_success` or `none`), and unless none
    ///   `…_HALF_OPEN_CALLS` and `…_LOST_TRIAL` (0 = a lost trial is waited for);
    /// - `…_STALE_RESULTS` (`count` or `ignore`).
    ///
    /// A rule that has no effect beside the others is a mistake, and told as such; that the whole
    /// breaker is switched off is not, so that an experiment can do so by one variable.
    pub fn from_env(env: &mut Env, prefix: &str, preset: Preset) -> Self {
        let preset = preset.breaker();
        let mut reader = Reader {
            env,
            prefix: prefix.to_owned(),
        };
        let window = reader.window(preset.window);
        let trials = reader.trials(preset.trials);
        let settings = Self {
            window,
            min_calls: reader.parse("MIN_CALLS", preset.min_calls),
            failure_percent: reader.percent("FAILURE_PERCENT", preset.failure_percent),
            slow: reader.slow(preset.slow),
            open: reader.open(preset.open),
            trials,
            stale_results: reader.choice(
                "STALE_RESULTS",
                preset.stale_results,
                &[
                    ("count", StaleResults::Count),
                    ("ignore", StaleResults::Ignore),
                ],
            ),
        };
        let judges_trials_by_share = trials.is_some_and(|it| it.decide == Decide::AllRate);
        if matches!(window, Window::Consecutive { .. }) && !judges_trials_by_share {
            reader.without_effect(
                "a window of consecutive failures",
                &["MIN_CALLS", "FAILURE_PERCENT", "SLOW", "SLOW_PERCENT"],
            );
        }
        settings
    }
}

/// Reads the variables of one breaker.
struct Reader<'a> {
    env: &'a mut Env,
    prefix: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Time,
    Count,
    Consecutive,
}

impl Reader<'_> {
    fn window(&mut self, preset: Window) -> Window {
        let kind = match preset {
            Window::Time { .. } => Kind::Time,
            Window::Count { .. } => Kind::Count,
            Window::Consecutive { .. } => Kind::Consecutive,
        };
        let kinds = [
            ("time", Kind::Time),
            ("count", Kind::Count),
            ("consecutive", Kind::Consecutive),
        ];
        match self.choice("WINDOW_KIND", kind, &kinds) {
            Kind::Time => {
                self.without_effect("a window of time", &["WINDOW_CALLS", "CONSECUTIVE"]);
                self.time_window(preset)
            }
            Kind::Count => {
                let others = ["WINDOW", "BUCKET", "EVALUATE", "CONSECUTIVE"];
                self.without_effect("a window of calls", &others);
                let default = match preset {
                    Window::Count { calls } => calls,
                    Window::Time { .. } | Window::Consecutive { .. } => 100,
                };
                Window::Count {
                    calls: self.at_least_one("WINDOW_CALLS", default),
                }
            }
            Kind::Consecutive => {
                let others = ["WINDOW", "BUCKET", "EVALUATE", "WINDOW_CALLS"];
                self.without_effect("a window of consecutive failures", &others);
                let default = match preset {
                    Window::Consecutive { failures } => failures,
                    Window::Time { .. } | Window::Count { .. } => 5,
                };
                Window::Consecutive {
                    failures: self.at_least_one("CONSECUTIVE", default),
                }
            }
        }
    }

    fn time_window(&mut self, preset: Window) -> Window {
        let (length, bucket, evaluate) = match preset {
            Window::Time {
                length,
                bucket,
                evaluate,
            } => (length, bucket, evaluate),
            Window::Count { .. } | Window::Consecutive { .. } => (
                Duration::from_secs(10),
                Duration::from_secs(1),
                Evaluate::Result,
            ),
        };
        let length = self.duration("WINDOW", length);
        let bucket = self.duration("BUCKET", bucket);
        let is_whole = length.as_nanos().checked_rem(bucket.as_nanos()) == Some(0);
        if length.is_zero() || !is_whole || length > bucket.saturating_mul(MOST_BUCKETS) {
            self.env.complain(format!(
                "{0}_WINDOW={length:?}: must be a whole multiple of {0}_BUCKET={bucket:?}, \
                 at most {MOST_BUCKETS} times that",
                self.prefix
            ));
        }
        let evaluate = self.choice(
            "EVALUATE",
            evaluate,
            &[
                ("tick", Evaluate::Tick),
                ("result", Evaluate::Result),
                ("failure", Evaluate::Failure),
            ],
        );
        Window::Time {
            length,
            bucket,
            evaluate,
        }
    }

    fn slow(&mut self, preset: Option<Slow>) -> Option<Slow> {
        let longer_than = preset.map_or(Duration::ZERO, |slow| slow.longer_than);
        let longer_than = self.duration("SLOW", longer_than);
        if longer_than.is_zero() {
            self.without_effect("calls that are never slow", &["SLOW_PERCENT"]);
            return None;
        }
        let percent = preset.map_or(100, |slow| slow.percent);
        Some(Slow {
            longer_than,
            percent: self.percent("SLOW_PERCENT", percent),
        })
    }

    fn open(&mut self, preset: OpenFor) -> OpenFor {
        let first = self.duration("SLEEP", preset.first);
        let (is_linear, limit, decay) = match preset.growth {
            Growth::Linear { limit, decay } => (true, limit, decay),
            Growth::Constant => (false, Duration::from_secs(300), Duration::from_secs(10)),
        };
        let choices = [("constant", false), ("linear", true)];
        let growth = if self.choice("SLEEP_GROWTH", is_linear, &choices) {
            Growth::Linear {
                limit: self.duration("SLEEP_LIMIT", limit),
                decay: self.duration("SLEEP_DECAY", decay),
            }
        } else {
            self.without_effect("a constant sleep", &["SLEEP_LIMIT", "SLEEP_DECAY"]);
            Growth::Constant
        };
        OpenFor { first, growth }
    }

    fn trials(&mut self, preset: Option<Trials>) -> Option<Trials> {
        let choices = [
            ("first", Some(Decide::First)),
            ("all_rate", Some(Decide::AllRate)),
            ("all_success", Some(Decide::AllSuccess)),
            ("none", None),
        ];
        let default = preset.map(|trials| trials.decide);
        let Some(decide) = self.choice("HALF_OPEN", default, &choices) else {
            self.without_effect(
                "a circuit without half-open state",
                &["HALF_OPEN_CALLS", "LOST_TRIAL"],
            );
            return None;
        };
        let permits = preset.map_or(1, |trials| trials.permits);
        let lost_after = preset.and_then(|trials| trials.lost_after);
        Some(Trials {
            decide,
            permits: self.at_least_one("HALF_OPEN_CALLS", permits),
            lost_after: optional(self.duration("LOST_TRIAL", lost_after.unwrap_or_default())),
        })
    }

    fn at_least_one(&mut self, name: &str, default: u64) -> u64 {
        let value = self.parse(name, default);
        if value == 0 {
            self.env
                .complain(format!("{}_{name}=0: must be at least 1", self.prefix));
        }
        value
    }

    /// A share. With none a circuit would open without a failure, with more than all it never would.
    fn percent(&mut self, name: &str, default: u64) -> u64 {
        let name = format!("{}_{name}", self.prefix);
        self.env.within(&name, default, 1..=100)
    }

    /// Complains about each variable that is set although nothing looks at it.
    fn without_effect(&mut self, beside: &str, names: &[&str]) {
        for name in names {
            let name = format!("{}_{name}", self.prefix);
            if let Some(value) = self.env.text(&name) {
                self.env.complain(format!(
                    "{name}={value:?}: has no effect on {beside}; remove it"
                ));
            }
        }
    }

    fn parse(&mut self, name: &str, default: u64) -> u64 {
        self.env.parse(&format!("{}_{name}", self.prefix), default)
    }

    fn duration(&mut self, name: &str, default: Duration) -> Duration {
        self.env
            .duration(&format!("{}_{name}", self.prefix), default)
    }

    fn choice<T: Clone>(&mut self, name: &str, default: T, choices: &[(&str, T)]) -> T {
        let name = format!("{}_{name}", self.prefix);
        self.env.choice(&name, default, choices)
    }
}

/// `None` for no time at all.
fn optional(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

#[cfg(test)]
mod tests;
