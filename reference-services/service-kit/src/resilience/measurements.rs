//! What a command lets the outside see of its circuit, its bulkhead and its calls.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::breaker::{CircuitState, Reason};
use crate::metrics::{duration_histogram, observe};

/// The metrics of all commands of a process.
#[derive(Clone, Debug)]
pub struct CommandMetrics {
    state: Family<StateLabels, Gauge>,
    transitions: Family<TransitionLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    permits_in_use: Family<NameLabel, Gauge>,
    waiting: Family<NameLabel, Gauge>,
    durations: Family<CallLabels, Histogram, fn() -> Histogram>,
}

/// The metrics of one command, each labelled with its name. Its state goes from sight with it.
#[derive(Debug)]
pub struct Measurements {
    name: String,
    of_all: CommandMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    name: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    name: String,
    from: &'static str,
    to: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    name: String,
    outcome: &'static str,
}

/// How a call looked to its caller, as a label.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CallOutcome {
    Success,
    Failure,
    Timeout,
    Rejected,
    ShortCircuited,
}

impl CallOutcome {
    const ALL: [Self; 5] = [
        Self::Success,
        Self::Failure,
        Self::Timeout,
        Self::Rejected,
        Self::ShortCircuited,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::ShortCircuited => "short_circuited",
        }
    }
}

const STATES: [CircuitState; 3] = [
    CircuitState::Closed,
    CircuitState::Open,
    CircuitState::HalfOpen,
];

pub(super) fn state_label(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open => "open",
        CircuitState::HalfOpen => "half_open",
    }
}

pub(super) fn reason_label(reason: Reason) -> &'static str {
    match reason {
        Reason::FailureRate => "failure_rate",
        Reason::SlowRate => "slow_rate",
        Reason::ConsecutiveFailures => "consecutive_failures",
        Reason::SleepOver => "sleep_over",
        Reason::TrialsPassed => "trials_passed",
        Reason::TrialsFailed => "trials_failed",
        Reason::TrialsLost => "trials_lost",
        Reason::TooManyOut => "too_many_out",
    }
}

impl CommandMetrics {
    /// Registers what every command shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            state: Family::default(),
            transitions: Family::default(),
            calls: Family::default(),
            permits_in_use: Family::default(),
            waiting: Family::default(),
            durations: Family::new_with_constructor(duration_histogram),
        };
        registry.register(
            "circuit_breaker_state",
            "1 for the state the circuit is in, 0 for the others",
            metrics.state.clone(),
        );
        registry.register(
            "circuit_breaker_transitions",
            "Changes of state of the circuit, by reason",
            metrics.transitions.clone(),
        );
        registry.register(
            "circuit_breaker_calls",
            "Calls by outcome, including those that were not let through",
            metrics.calls.clone(),
        );
        registry.register(
            "bulkhead_permits_in_use",
            "Calls under way, including those whose caller has given up",
            metrics.permits_in_use.clone(),
        );
        registry.register(
            "bulkhead_waiting",
            "Calls that wait for a place in the bulkhead",
            metrics.waiting.clone(),
        );
        registry.register(
            "circuit_breaker_call_duration_seconds",
            "Time from submitting a call to its outcome, as the caller saw it",
            metrics.durations.clone(),
        );
        metrics
    }

    /// The metrics of the command called `name`, whose circuit is closed.
    pub fn of(&self, name: impl Into<String>) -> Measurements {
        let measurements = Measurements {
            name: name.into(),
            of_all: self.clone(),
        };
        measurements.show_state(CircuitState::Closed);
        for outcome in CallOutcome::ALL {
            drop(self.calls.get_or_create(&measurements.call(outcome)));
        }
        measurements
    }
}

impl Measurements {
    pub(crate) fn transition(&self, from: CircuitState, to: CircuitState, reason: Reason) {
        let labels = TransitionLabels {
            name: self.name.clone(),
            from: state_label(from),
            to: state_label(to),
            reason: reason_label(reason),
        };
        tracing::warn!(
            name = self.name,
            from = labels.from,
            to = labels.to,
            reason = labels.reason,
            "circuit"
        );
        self.of_all.transitions.get_or_create(&labels).inc();
        self.show_state(to);
    }

    pub(crate) fn ended(&self, outcome: CallOutcome, duration: Duration) {
        let labels = self.call(outcome);
        self.of_all.calls.get_or_create(&labels).inc();
        observe(&self.of_all.durations.get_or_create(&labels), duration);
    }

    pub(crate) fn permits_in_use(&self) -> Gauge {
        self.of_all.permits_in_use.get_or_create_owned(&self.name())
    }

    pub(crate) fn waiting(&self) -> Gauge {
        self.of_all.waiting.get_or_create_owned(&self.name())
    }

    fn show_state(&self, current: CircuitState) {
        for state in STATES {
            let labels = self.state(state);
            let shown = self.of_all.state.get_or_create(&labels);
            shown.set(i64::from(state == current));
        }
    }

    fn name(&self) -> NameLabel {
        NameLabel {
            name: self.name.clone(),
        }
    }

    fn state(&self, state: CircuitState) -> StateLabels {
        StateLabels {
            name: self.name.clone(),
            state: state_label(state),
        }
    }

    fn call(&self, outcome: CallOutcome) -> CallLabels {
        CallLabels {
            name: self.name.clone(),
            outcome: outcome.label(),
        }
    }
}

impl Drop for Measurements {
    fn drop(&mut self) {
        // A circuit that is gone must not be watched as open for ever. Counters may stay.
        for state in STATES {
            self.of_all.state.remove(&self.state(state));
        }
        self.of_all.permits_in_use.remove(&self.name());
        self.of_all.waiting.remove(&self.name());
    }
}
