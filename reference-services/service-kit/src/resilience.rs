//! Calls to another service that may be slow, refuse or fail: a circuit breaker, a timeout and a
//! bulkhead, in this order, for the service or for each of its endpoints; repeats within a budget; and
//! the reasons a request can be refused for.

mod breaker;
mod bulkhead;
mod command;
mod endpoints;
mod fleet;
mod measurements;
mod preset;
mod refusal;
mod retry;
mod settings;

pub use breaker::{
    Breaker, BreakerSettings, CircuitState, Decide, Evaluate, Growth, OpenFor, Outcome, Permit,
    Reason, ShortCircuited, Slow, StaleResults, Trials, Window,
};
pub use bulkhead::BulkheadSettings;
pub use command::{CallError, Command, CommandSettings, Release};
pub use endpoints::{AllOut, Chosen, EndpointSettings, Endpoints};
pub use measurements::{CommandMetrics, Measurements};
pub use preset::Preset;
pub use refusal::{CIRCUIT, REFUSAL_REASON, RefusalReason, retry_after};
pub use retry::{BudgetSettings, NoRepeat, Retries, RetrySettings};
