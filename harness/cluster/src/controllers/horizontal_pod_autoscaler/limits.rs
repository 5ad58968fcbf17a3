//! From what the metrics ask for to what is done: not too low, not too high, not too fast, and not
//! down again at once.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Without a `behavior` replicas at most double, or become this many.
const UNRESTRICTED_REPLICAS: i32 = 4;

/// What an autoscaler recommended and did so far.
#[derive(Clone, Default, Debug)]
pub(super) struct History {
    recommendations: Vec<Entry>,
    /// By how many replicas it scaled up.
    ups: Vec<Entry>,
    downs: Vec<Entry>,
}

#[derive(Copy, Clone, Debug)]
struct Entry {
    at: Timestamp,
    replicas: i32,
}

/// The number of replicas at present and what it may become.
#[derive(Copy, Clone, Debug)]
pub(super) struct Range {
    pub(super) current: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

/// What recent recommendations make of the present one.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) struct Stabilized {
    pub(super) replicas: i32,
    /// Reason and message, when it is not what was recommended.
    pub(super) held_back: Option<(&'static str, &'static str)>,
}

/// What the range and the rate leave.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) struct Limited {
    pub(super) replicas: i32,
    /// Reason and message of the condition ScalingLimited.
    pub(super) limit: Option<(&'static str, &'static str)>,
}

const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const TOO_FEW: (&str, &str) = (
    "TooFewReplicas",
    "the desired replica count is less than the minimum replica count",
);
const TOO_MANY: (&str, &str) = (
    "TooManyReplicas",
    "the desired replica count is more than the maximum replica count",
);
const UP_LIMIT: (&str, &str) = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
);
const DOWN_LIMIT: (&str, &str) = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);

impl History {
    /// The number of replicas an autoscaler finds counts as its first recommendation.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommend(current, now, Duration::ZERO);
        }
    }

    fn recommend(&mut self, replicas: i32, now: Timestamp, window: Duration) {
        let entry = Entry { at: now, replicas };
        keep_recent(&mut self.recommendations, now, window);
        self.recommendations.push(entry);
    }

    /// Without a `behavior`: the highest recommendation of the window.
    pub(super) fn stabilize(
        &mut self,
        desired: i32,
        now: Timestamp,
        window: Duration,
    ) -> Stabilized {
        let recent = recent(&self.recommendations, now, window);
        let replicas = recent.fold(desired, i32::max);
        self.recommend(desired, now, window);
        Stabilized {
            replicas,
            held_back: (replicas != desired).then_some(DOWN_STABILIZED),
        }
    }

    /// With a `behavior`: between the lowest recommendation of the one window and the highest of
    /// the other, as near to the present number as possible.
    pub(super) fn stabilize_both_ways(
        &mut self,
        (current, desired): (i32, i32),
        now: Timestamp,
        (up_window, down_window): (Duration, Duration),
    ) -> Stabilized {
        let lowest = recent(&self.recommendations, now, up_window).fold(desired, i32::min);
        let highest = recent(&self.recommendations, now, down_window).fold(desired, i32::max);
        let replicas = current.max(lowest).min(highest);
        self.recommend(desired, now, up_window.max(down_window));
        let reason = if desired >= current {
            UP_STABILIZED
        } else {
            DOWN_STABILIZED
        };
        Stabilized {
            replicas,
            held_back: (replicas != desired).then_some(reason),
        }
    }

    /// Notes a change of the number of replicas, which limits the next ones.
    pub(super) fn scaled(&mut self, from: i32, to: i32, now: Timestamp, longest_period: Duration) {
        keep_recent(&mut self.ups, now, longest_period);
        keep_recent(&mut self.downs, now, longest_period);
        let (changes, replicas) = if to > from {
            (&mut self.ups, to - from)
        } else {
            (&mut self.downs, from - to)
        };
        changes.push(Entry { at: now, replicas });
    }

    /// The number of replicas at the start of a policy's period.
    fn replicas_at_start(&self, policy: &HPAScalingPolicy, current: i32, now: Timestamp) -> i32 {
        let period = seconds(policy.period_seconds);
        let sum = |changes: &[Entry]| recent(changes, now, period).sum::<i32>();
        current - sum(&self.ups) + sum(&self.downs)
    }
}

/// The entries within a time before now.
fn recent(entries: &[Entry], now: Timestamp, window: Duration) -> impl Iterator<Item = i32> {
    let since = before(now, window);
    entries
        .iter()
        .filter(move |entry| entry.at > since)
        .map(|entry| entry.replicas)
}

fn keep_recent(entries: &mut Vec<Entry>, now: Timestamp, window: Duration) {
    let since = before(now, window);
    entries.retain(|entry| entry.at > since);
}

fn before(now: Timestamp, window: Duration) -> Timestamp {
    let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
    now.checked_sub(window).unwrap_or(Timestamp::MIN)
}

pub(super) fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

impl Range {
    /// Without a `behavior`.
    pub(super) fn limit(self, desired: i32) -> Limited {
        let fastest = self.current.saturating_mul(2).max(UNRESTRICTED_REPLICAS);
        let (most, reason) = if self.max > fastest {
            (fastest, UP_LIMIT)
        } else {
            (self.max, TOO_MANY)
        };
        if desired < self.min {
            limited(self.min, TOO_FEW)
        } else if desired > most {
            limited(most, reason)
        } else {
            unlimited(desired)
        }
    }

    /// With a `behavior`: as fast as the policies permit.
    pub(super) fn limit_rate(
        self,
        desired: i32,
        (up, down): (&HPAScalingRules, &HPAScalingRules),
        history: &History,
        now: Timestamp,
    ) -> Limited {
        let Self { current, min, max } = self;
        if desired > current {
            let fastest = highest(up, current, history, now).max(current);
            let (most, reason) = if fastest < max {
                (fastest, UP_LIMIT)
            } else {
                (max, TOO_MANY)
            };
            if desired > most {
                return limited(most, reason);
            }
        } else if desired < current {
            let fastest = lowest(down, current, history, now).min(current);
            let (least, reason) = if fastest > min {
                (fastest, DOWN_LIMIT)
            } else {
                (min, TOO_FEW)
            };
            if desired < least {
                return limited(least, reason);
            }
        }
        unlimited(desired)
    }
}

fn limited(replicas: i32, reason: (&'static str, &'static str)) -> Limited {
    Limited {
        replicas,
        limit: Some(reason),
    }
}

fn unlimited(replicas: i32) -> Limited {
    Limited {
        replicas,
        limit: None,
    }
}

fn highest(rules: &HPAScalingRules, current: i32, history: &History, now: Timestamp) -> i32 {
    let proposed = rules.policies.iter().flatten().map(|policy| {
        let start = history.replicas_at_start(policy, current, now);
        if policy.type_ == "Pods" {
            start.saturating_add(policy.value)
        } else {
            (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32
        }
    });
    let chosen = match rules.select_policy.as_deref() {
        Some("Disabled") => None,
        Some("Min") => proposed.min(),
        Some(_) | None => proposed.max(),
    };
    chosen.unwrap_or(current)
}

fn lowest(rules: &HPAScalingRules, current: i32, history: &History, now: Timestamp) -> i32 {
    let proposed = rules.policies.iter().flatten().map(|policy| {
        let start = history.replicas_at_start(policy, current, now);
        if policy.type_ == "Pods" {
            start.saturating_sub(policy.value)
        } else {
            (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32
        }
    });
    let chosen = match rules.select_policy.as_deref() {
        Some("Disabled") => None,
        // The policy with the smallest change.
        Some("Min") => proposed.max(),
        Some(_) | None => proposed.min(),
    };
    chosen.unwrap_or(current)
}

#[cfg(test)]
mod tests;
