//! When a circuit opens and how it closes again: one schema for the breakers in common use.

use std::time::Duration;

/// The rules of one circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    pub window: Window,
    /// Fewer results than this in the window decide nothing. In a count window that is shorter, a
    /// full window is enough.
    pub min_calls: u64,
    /// Opens when at least this share of the results are failures.
    pub failure_percent: u64,
    /// Opens, besides, when too many calls are slow; `None` does not look at durations.
    pub slow: Option<Slow>,
    pub open: OpenFor,
    /// How an open circuit is tried before it closes; `None` closes it untried.
    pub trials: Option<Trials>,
    pub stale_results: StaleResults,
}

/// Which results are looked at, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Those of a length of time, in buckets. The length is a multiple of the bucket.
    Time {
        length: Duration,
        bucket: Duration,
        evaluate: Evaluate,
    },
    /// The last so many, after each.
    Count { calls: u64 },
    /// The failures since the last success, whatever their share. Opens at so many.
    Consecutive { failures: u64 },
}

/// When a window of time is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluate {
    /// At the end of each bucket, and only the complete buckets.
    Tick,
    /// After each result, the bucket being filled included.
    Result,
    /// After each failure, the bucket being filled included.
    Failure,
}

/// Which calls are slow, and how many of them open the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    pub longer_than: Duration,
    pub percent: u64,
}

/// How long a circuit stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFor {
    pub first: Duration,
    pub growth: Growth,
}

/// Whether a circuit that opens again stays open for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    Constant,
    /// As many times `first` as it has opened, up to `limit`. One opening is forgotten for each
    /// `decay` that the circuit was closed; a decay of zero never forgets.
    Linear {
        limit: Duration,
        decay: Duration,
    },
}

/// The calls an open circuit is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trials {
    /// How many are let through; at least one.
    pub permits: u64,
    pub decide: Decide,
    /// After so long a trial without a result is given up, and others are let through in its place.
    /// `None` waits for ever.
    pub lost_after: Option<Duration>,
}

/// What the trials decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decide {
    /// The first result alone.
    First,
    /// The shares of failures and slow calls among the results of all, by the rules that open the
    /// circuit. `min_calls` of them are enough.
    AllRate,
    /// As many successes as there are permits close; any failure opens.
    AllSuccess,
}

/// What becomes of the result of a call that was admitted before the latest change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleResults {
    /// It counts like any other, so it can also decide a trial.
    Count,
    /// It is dropped.
    Ignore,
}
