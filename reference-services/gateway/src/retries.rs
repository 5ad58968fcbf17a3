//! What may be sent a second time, and when.

use axum::http::{HeaderMap, HeaderName, Method};
use service_kit::resilience::{Retries, RetrySettings};

use crate::domain::Upstream;
use crate::ports::UpstreamError;

/// With it, a client says that the same request sent twice is to be acted on once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The repeats of requests to each upstream. Each has a budget of its own: one that is down does not
/// use up what the others need.
#[derive(Debug)]
pub struct UpstreamRetries([Retries; Upstream::ALL.len()]);

impl UpstreamRetries {
    pub fn new(settings: RetrySettings) -> Self {
        Self(Upstream::ALL.map(|_| Retries::new(settings)))
    }

    pub fn to(&self, upstream: Upstream) -> &Retries {
        &self.0[upstream as usize]
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
    use std::time::Duration;

    use axum::http::HeaderValue;
    use service_kit::resilience::{BudgetSettings, NoRepeat};

    use super::*;

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
    fn each_upstream_has_a_budget_of_its_own() {
        let retries = UpstreamRetries::new(RetrySettings {
            limit: 1,
            backoff: Duration::from_millis(25),
            backoff_limit: Duration::from_millis(25),
            budget: Some(BudgetSettings {
                window: Duration::from_secs(60),
                percent: 100,
                per_second: 0,
            }),
        });
        retries.to(Upstream::App).deposit();
        retries.to(Upstream::App).pause(0).unwrap();
        assert_eq!(retries.to(Upstream::App).pause(0), Err(NoRepeat::Budget));
        retries.to(Upstream::Store).deposit();
        retries.to(Upstream::Store).pause(0).unwrap();
    }
}
