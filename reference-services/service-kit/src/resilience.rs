//! Calls to another service that may be slow, refuse or fail: a circuit breaker, a bulkhead and a
//! timeout in the order of a Hystrix command, and the reasons a request can be refused for.

mod breaker;
mod command;
mod measurements;
mod refusal;
mod retry;

pub use breaker::{
    Breaker, BreakerSettings, CircuitState, Outcome, Permit, ShortCircuited, StaleResults,
};
pub use command::{CallError, Command, CommandSettings, Release};
pub use measurements::Measurements;
pub use refusal::{REFUSAL_REASON, RefusalReason, retry_after};
pub use retry::{BudgetSettings, NoRepeat, Retries, RetrySettings};
