//! What may be sent a second time, when, and how often at most.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, Method};
use service_kit::chance::Chance;
use tower::retry::budget::{Budget, TpsBudget};

use crate::domain::Upstream;
use crate::ports::UpstreamError;

/// With it, a client says that the same request sent twice is to be acted on once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Requests of the last while that the budget looks at.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// How requests are repeated.
#[derive(Clone, Copy, Debug)]
pub struct RetrySettings {
    /// How often one request is repeated at most.
    pub limit: u32,
    /// The longest pause before the first repeat; it doubles with each.
    pub backoff: Duration,
    pub backoff_limit: Duration,
    /// How many repeats there may be for a hundred requests to an upstream …
    pub budget_percent: u32,
    /// … and how many there may be a second however few requests there are.
    pub budget_per_second: u32,
}

/// Decides about repeats. Each upstream has a budget of its own: one that is down does not use up
/// what the others need.
#[derive(Debug)]
pub struct Retries {
    settings: RetrySettings,
    budgets: [TpsBudget; Upstream::ALL.len()],
    chance: Chance,
}

impl Retries {
    pub fn new(settings: RetrySettings) -> Self {
        let budget = || {
            let percent = settings.budget_percent as f32;
            TpsBudget::new(BUDGET_WINDOW, settings.budget_per_second, percent / 100.0)
        };
        Self {
            settings,
            budgets: Upstream::ALL.map(|_| budget()),
            chance: Chance::new(None),
        }
    }

    /// Takes note of a request that is sent for the first time.
    pub fn deposit(&self, upstream: Upstream) {
        self.budgets[upstream as usize].deposit();
    }

    /// How long to wait before the repeat that follows `repeats` earlier ones, or `None` to leave it.
    pub fn pause(&self, upstream: Upstream, repeats: u32) -> Option<Duration> {
        let allowed = repeats < self.settings.limit && self.budgets[upstream as usize].withdraw();
        allowed.then(|| self.chance.uniform(self.longest_pause(repeats)))
    }

    fn longest_pause(&self, repeats: u32) -> Duration {
        let factor = 2_u32.saturating_pow(repeats);
        let pause = self.settings.backoff.saturating_mul(factor);
        pause.min(self.settings.backoff_limit)
    }
}

/// Whether repeating a request that ended with `error` can do no harm. Never after a timeout: the
/// answer may still come, and an upstream that is slow does not need more to do.
pub fn is_safe(method: &Method, headers: &HeaderMap, error: UpstreamError) -> bool {
    let is_reading = *method == Method::GET || *method == Method::HEAD;
    match error {
        UpstreamError::Connect => is_reading || headers.contains_key(IDEMPOTENCY_KEY),
        UpstreamError::Broken => is_reading,
        UpstreamError::Timeout => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const SETTINGS: RetrySettings = RetrySettings {
        limit: 3,
        backoff: Duration::from_millis(25),
        backoff_limit: Duration::from_millis(60),
        budget_percent: 20,
        budget_per_second: 0,
    };

    #[test]
    fn only_what_cannot_happen_twice_is_repeated() {
        let plain = HeaderMap::new();
        let keyed = HeaderMap::from_iter([(IDEMPOTENCY_KEY, HeaderValue::from_static("1"))]);
        for (method, headers, safe_after) in [
            (
                Method::GET,
                &plain,
                vec![UpstreamError::Connect, UpstreamError::Broken],
            ),
            (
                Method::HEAD,
                &plain,
                vec![UpstreamError::Connect, UpstreamError::Broken],
            ),
            (Method::POST, &keyed, vec![UpstreamError::Connect]),
            (Method::POST, &plain, vec![]),
            (Method::DELETE, &plain, vec![]),
        ] {
            for error in [
                UpstreamError::Connect,
                UpstreamError::Broken,
                UpstreamError::Timeout,
            ] {
                let expected = safe_after.contains(&error);
                assert_eq!(
                    is_safe(&method, headers, error),
                    expected,
                    "{method} {error}"
                );
            }
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_end() {
        let retries = Retries::new(RetrySettings {
            budget_per_second: 10,
            ..SETTINGS
        });
        let longest = [0, 1, 2].map(|repeats| retries.longest_pause(repeats).as_millis());
        assert_eq!(longest, [25, 50, 60]);
        assert!(retries.pause(Upstream::App, 0).unwrap() <= Duration::from_millis(25));
        assert_eq!(retries.pause(Upstream::App, 3), None);
    }

    #[test]
    fn repeats_are_a_share_of_the_requests_to_each_upstream() {
        let retries = Retries::new(SETTINGS);
        assert_eq!(retries.pause(Upstream::App, 0), None);
        for _ in 0..10 {
            retries.deposit(Upstream::App);
        }
        let repeats = (0..10).filter_map(|_| retries.pause(Upstream::App, 0));
        assert_eq!(repeats.count(), 2);
        assert_eq!(retries.pause(Upstream::Store, 0), None);
    }
}
