//! Calls made once more: how often, after which pause, and within which budget.

use std::time::Duration;

use tower::retry::budget::{Budget, TpsBudget};

use crate::chance::Chance;
use crate::env::Env;

/// How calls are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// How often one call is repeated at most.
    pub limit: u32,
    /// The longest pause before the first repeat; it doubles with each.
    pub backoff: Duration,
    pub backoff_limit: Duration,
    /// `None` is no limit on the repeats of all calls together.
    pub budget: Option<BudgetSettings>,
}

/// How many repeats there may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// How long calls and repeats are remembered: 1 to 60 s.
    pub window: Duration,
    /// Repeats for a hundred calls; up to 100 000. Below 100 it is rounded up to an even share: 100, 50,
    /// 33, 25, 20 …
    pub percent: u32,
    /// Besides, so many repeats for each whole second of the window, however few calls there are.
    pub per_second: u32,
}

impl RetrySettings {
    /// Reads, for the prefix `RETRY`: `RETRY_BACKOFF` (25 ms), `RETRY_BACKOFF_LIMIT` (250 ms),
    /// `RETRY_BUDGET` (`on` or `off`), `RETRY_BUDGET_WINDOW` (10 s), `RETRY_BUDGET_PERCENT` (20) and
    /// `RETRY_BUDGET_PER_SECOND` (10), both up to 100 000.
    pub fn from_env(env: &mut Env, prefix: &str, limit: u32) -> Self {
        let name = |suffix: &str| format!("{prefix}_{suffix}");
        let window = env.duration(&name("BUDGET_WINDOW"), Duration::from_secs(10));
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&window) {
            env.complain(format!(
                "{}={window:?}: must be between 1s and 60s",
                name("BUDGET_WINDOW")
            ));
        }
        let budget = BudgetSettings {
            window,
            percent: env.within(&name("BUDGET_PERCENT"), 20, 0..=100_000),
            per_second: env.within(&name("BUDGET_PER_SECOND"), 10, 0..=100_000),
        };
        let limited = env.choice(&name("BUDGET"), true, &[("on", true), ("off", false)]);
        Self {
            limit,
            backoff: env.duration(&name("BACKOFF"), Duration::from_millis(25)),
            backoff_limit: env.duration(&name("BACKOFF_LIMIT"), Duration::from_millis(250)),
            budget: limited.then_some(budget),
        }
    }
}

/// Decides about repeats of one kind of call.
#[derive(Debug)]
pub struct Retries {
    settings: RetrySettings,
    budget: Option<TpsBudget>,
    chance: Chance,
}

/// Why a call is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRepeat {
    /// It was repeated often enough.
    Limit,
    /// All calls together were repeated often enough.
    Budget,
}

impl Retries {
    pub fn new(settings: RetrySettings) -> Self {
        let budget = settings.budget.map(|budget| {
            let share = budget.percent as f32 / 100.0;
            TpsBudget::new(budget.window, budget.per_second, share)
        });
        Self {
            settings,
            budget,
            chance: Chance::new(None),
        }
    }

    /// Takes note of a call that is made for the first time.
    pub fn deposit(&self) {
        if let Some(budget) = &self.budget {
            budget.deposit();
        }
    }

    /// How long to wait before the repeat that follows `repeats` earlier ones: anything up to the
    /// longest pause, so that calls that failed together do not come back together.
    pub fn pause(&self, repeats: u32) -> Result<Duration, NoRepeat> {
        if repeats >= self.settings.limit {
            return Err(NoRepeat::Limit);
        }
        let budget = self.budget.as_ref();
        if !budget.is_none_or(|budget| budget.withdraw()) {
            return Err(NoRepeat::Budget);
        }
        Ok(self.chance.uniform(self.longest_pause(repeats)))
    }

    fn longest_pause(&self, repeats: u32) -> Duration {
        let factor = 2_u32.saturating_pow(repeats);
        let pause = self.settings.backoff.saturating_mul(factor);
        pause.min(self.settings.backoff_limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RetrySettings = RetrySettings {
        limit: 3,
        backoff: Duration::from_millis(25),
        backoff_limit: Duration::from_millis(60),
        budget: None,
    };

    fn budget(percent: u32, per_second: u32) -> RetrySettings {
        RetrySettings {
            budget: Some(BudgetSettings {
                window: Duration::from_secs(10),
                percent,
                per_second,
            }),
            ..SETTINGS
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_end() {
        let retries = Retries::new(SETTINGS);
        let longest = [0, 1, 2].map(|repeats| retries.longest_pause(repeats).as_millis());
        assert_eq!(longest, [25, 50, 60]);
        assert!(retries.pause(0).unwrap() <= Duration::from_millis(25));
        assert_eq!(retries.pause(3), Err(NoRepeat::Limit));
    }

    #[tokio::test(start_paused = true)]
    async fn repeats_are_a_share_of_the_calls_of_the_last_while() {
        let retries = Retries::new(budget(20, 0));
        assert_eq!(retries.pause(0), Err(NoRepeat::Budget));
        for _ in 0..10 {
            retries.deposit();
        }
        let repeats = || (0..10).filter(|_| retries.pause(0).is_ok()).count();
        assert_eq!(repeats(), 2);
        for _ in 0..10 {
            retries.deposit();
        }
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(repeats(), 0);
    }

    #[test]
    fn a_few_repeats_are_allowed_without_any_calls() {
        let retries = Retries::new(budget(0, 1));
        let repeats = (0..100).filter(|_| retries.pause(0).is_ok());
        assert_eq!(repeats.count(), 10);
    }

    #[test]
    fn budgets_that_cannot_be_kept_are_refused() {
        for (name, value) in [
            ("RETRY_BUDGET_WINDOW", "0"),
            ("RETRY_BUDGET_WINDOW", "61s"),
            ("RETRY_BUDGET_PERCENT", "100001"),
            ("RETRY_BUDGET_PER_SECOND", "100001"),
        ] {
            let mut env = Env::of_pairs([(name, value)]);
            RetrySettings::from_env(&mut env, "RETRY", 1);
            let message = env.finish().unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn the_largest_budget_can_be_kept() {
        let mut env = Env::of_pairs([
            ("RETRY_BUDGET_PERCENT", "100000"),
            ("RETRY_BUDGET_PER_SECOND", "100000"),
        ]);
        let settings = RetrySettings::from_env(&mut env, "RETRY", 1);
        env.finish().unwrap();
        assert!(Retries::new(settings).pause(0).is_ok());
    }
}
