//! Which payments are asked for once more. Asking again for the same order takes no money twice, so
//! that every outcome may be repeated, except that of an open circuit: it says not to call.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use service_kit::env::Env;
use service_kit::resilience::{NoRepeat, Retries, RetrySettings};

use crate::ports::PaymentError;

/// An outcome after which a payment can be asked for once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    Timeout,
    /// The bulkhead was full.
    Rejected,
    /// pay answered that it failed, or broke its answer off.
    Failure,
    /// pay could not be reached.
    Refused,
}

impl RetryOn {
    const ALL: [Self; 4] = [Self::Timeout, Self::Rejected, Self::Failure, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::Failure => "failure",
            Self::Refused => "refused",
        }
    }

    fn of(error: PaymentError) -> Option<Self> {
        match error {
            PaymentError::Timeout => Some(Self::Timeout),
            PaymentError::BulkheadFull => Some(Self::Rejected),
            PaymentError::Upstream => Some(Self::Failure),
            PaymentError::Connect => Some(Self::Refused),
            PaymentError::BreakerOpen { .. } | PaymentError::Declined => None,
        }
    }
}

/// How payments are repeated.
#[derive(Clone, Debug)]
pub struct PayRetrySettings {
    pub retries: RetrySettings,
    pub on: Vec<RetryOn>,
}

impl PayRetrySettings {
    /// Reads `PAY_RETRY_ATTEMPTS` (repeats of one payment at most; 0), `PAY_RETRY_ON` (default
    /// `timeout,rejected,failure,refused`) and `PAY_RETRY_*` of [`RetrySettings::from_env`].
    pub fn from_env(env: &mut Env) -> Self {
        let limit = env.parse("PAY_RETRY_ATTEMPTS", 0);
        Self {
            retries: RetrySettings::from_env(env, "PAY_RETRY", limit),
            on: outcomes(env),
        }
    }
}

fn outcomes(env: &mut Env) -> Vec<RetryOn> {
    let Some(text) = env.text("PAY_RETRY_ON") else {
        return RetryOn::ALL.to_vec();
    };
    let known = |word: &str| RetryOn::ALL.into_iter().find(|on| on.as_str() == word);
    let mut found = Vec::new();
    for word in text.split(',').map(str::trim) {
        match known(word) {
            Some(on) => found.push(on),
            None => env.complain(format!(
                "PAY_RETRY_ON: {word:?} is none of {}",
                RetryOn::ALL.map(RetryOn::as_str).join(", ")
            )),
        }
    }
    found
}

/// Decides about repeats of payments, and shows what it decided.
#[derive(Debug)]
pub struct PayRetries {
    retries: Retries,
    on: Vec<RetryOn>,
    attempts: Counter,
    repeats: Family<OnLabel, Counter>,
    refused: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OnLabel {
    on: &'static str,
}

impl PayRetries {
    pub fn new(settings: &PayRetrySettings, registry: &mut Registry) -> Self {
        let retries = Self {
            retries: Retries::new(settings.retries),
            on: settings.on.clone(),
            attempts: Counter::default(),
            repeats: Family::default(),
            refused: Counter::default(),
        };
        registry.register(
            "payment_attempts",
            "Payments asked for, repeats included, let through or not",
            retries.attempts.clone(),
        );
        registry.register(
            "payment_retries",
            "Payments asked for once more, by the outcome before",
            retries.repeats.clone(),
        );
        registry.register(
            "payment_retries_refused",
            "Payments that were not asked for once more because the budget was used up",
            retries.refused.clone(),
        );
        for on in RetryOn::ALL {
            drop(retries.repeats.get_or_create(&OnLabel { on: on.as_str() }));
        }
        retries
    }

    /// Takes note of a payment that is asked for, after so many `repeats`.
    pub(crate) fn begin(&self, repeats: u32) {
        self.attempts.inc();
        if repeats == 0 {
            self.retries.deposit();
        }
    }

    /// How long to wait before the payment that ended with `error` is asked for once more, or `None`
    /// to leave it.
    pub(crate) fn pause(&self, error: PaymentError, repeats: u32) -> Option<Duration> {
        let on = RetryOn::of(error).filter(|on| self.on.contains(on))?;
        match self.retries.pause(repeats) {
            Ok(pause) => {
                let label = OnLabel { on: on.as_str() };
                self.repeats.get_or_create(&label).inc();
                Some(pause)
            }
            Err(NoRepeat::Budget) => {
                self.refused.inc();
                None
            }
            Err(NoRepeat::Limit) => None,
        }
    }
}
