//! What store counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use service_kit::metrics::duration_histogram;

use crate::domain::Change;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    stage: &'static str,
}

/// Counters of the steps this process made.
#[derive(Clone, Debug)]
pub(crate) struct Measurements {
    steps: Family<Step, Counter>,
    refusals: Counter,
    lateness: Histogram,
}

impl Measurements {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            steps: Family::default(),
            refusals: Counter::default(),
            lateness: duration_histogram(),
        };
        registry.register(
            "store_deliveries_entered",
            "Deliveries that entered each stage",
            new.steps.clone(),
        );
        registry.register(
            "store_cancellations_refused",
            "Requests to cancel that came too late",
            new.refusals.clone(),
        );
        registry.register(
            "store_step_lateness_seconds",
            "How much later than due deliveries took their steps",
            new.lateness.clone(),
        );
        new
    }

    /// Counts a change that was due at `due_ms`, as far as it was a step on the way.
    pub(crate) fn made(&self, change: &Change, due_ms: i64) {
        let stage = change.after.stage;
        if change.before == Some(stage) {
            self.refusals.inc();
            return;
        }
        let stage = stage.as_str();
        self.steps.get_or_create(&Step { stage }).inc();
        if let (Some(told), Some(_)) = (&change.announcement, change.before) {
            self.lateness
                .observe((told.at_ms - due_ms).max(0) as f64 / 1e3);
        }
    }
}
