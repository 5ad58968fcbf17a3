//! What a command lets the outside see of its circuit, its bulkhead and its calls.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::breaker::CircuitState;
use crate::metrics::{duration_histogram, observe};

/// The metrics of one command, each labelled with its name.
#[derive(Debug)]
pub struct Measurements {
    name: String,
    state: Family<StateLabels, Gauge>,
    transitions: Family<TransitionLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    permits_in_use: Gauge,
    durations: Family<CallLabels, Histogram, fn() -> Histogram>,
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

fn state_label(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open => "open",
        CircuitState::HalfOpen => "half_open",
    }
}

impl Measurements {
    /// Registers the metrics of the command called `name`, whose circuit is closed.
    pub fn register(name: &str, registry: &mut Registry) -> Self {
        let permits = Family::<NameLabel, Gauge>::default();
        let measurements = Self {
            name: name.to_owned(),
            state: Family::default(),
            transitions: Family::default(),
            calls: Family::default(),
            permits_in_use: permits.get_or_create_owned(&NameLabel {
                name: name.to_owned(),
            }),
            durations: Family::new_with_constructor(duration_histogram),
        };
        registry.register(
            "circuit_breaker_state",
            "1 for the state the circuit is in, 0 for the others",
            measurements.state.clone(),
        );
        registry.register(
            "circuit_breaker_transitions",
            "Changes of state of the circuit",
            measurements.transitions.clone(),
        );
        registry.register(
            "circuit_breaker_calls",
            "Calls by outcome, including those that were not let through",
            measurements.calls.clone(),
        );
        registry.register(
            "bulkhead_permits_in_use",
            "Calls under way, including those whose caller has given up",
            permits,
        );
        registry.register(
            "circuit_breaker_call_duration_seconds",
            "Time from submitting a call to its outcome, as the caller saw it",
            measurements.durations.clone(),
        );
        measurements.show_state(CircuitState::Closed);
        for outcome in CallOutcome::ALL {
            drop(
                measurements
                    .calls
                    .get_or_create(&measurements.call(outcome)),
            );
        }
        measurements
    }

    pub(crate) fn transition(&self, from: CircuitState, to: CircuitState) {
        let (from_label, to_label) = (state_label(from), state_label(to));
        tracing::warn!(
            name = self.name,
            from = from_label,
            to = to_label,
            "circuit"
        );
        self.transitions
            .get_or_create(&TransitionLabels {
                name: self.name.clone(),
                from: from_label,
                to: to_label,
            })
            .inc();
        self.show_state(to);
    }

    pub(crate) fn ended(&self, outcome: CallOutcome, duration: Duration) {
        let labels = self.call(outcome);
        self.calls.get_or_create(&labels).inc();
        observe(&self.durations.get_or_create(&labels), duration);
    }

    pub(crate) fn permits_in_use(&self) -> &Gauge {
        &self.permits_in_use
    }

    fn show_state(&self, current: CircuitState) {
        for state in STATES {
            self.state
                .get_or_create(&StateLabels {
                    name: self.name.clone(),
                    state: state_label(state),
                })
                .set(i64::from(state == current));
        }
    }

    fn call(&self, outcome: CallOutcome) -> CallLabels {
        CallLabels {
            name: self.name.clone(),
            outcome: outcome.label(),
        }
    }
}
