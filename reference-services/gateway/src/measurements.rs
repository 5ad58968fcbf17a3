//! What the gateway lets the outside see of the requests that it refused, repeated or has in hand.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::Upstream;

/// What a request was refused for that was shed.
pub(crate) const SHED: &str = "shed";

/// The metrics of the gateway.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    refusals: Family<ReasonLabel, Counter>,
    failures: Family<FailureLabels, Counter>,
    retries: Family<UpstreamLabel, Counter>,
    in_flight: Family<UpstreamLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    upstream: &'static str,
    reason: &'static str,
}

impl Measurements {
    pub fn register(registry: &mut Registry) -> Self {
        let measurements = Self::default();
        registry.register(
            "gateway_refusals",
            "Requests that were answered without asking an upstream",
            measurements.refusals.clone(),
        );
        registry.register(
            "gateway_upstream_failures",
            "Tries that an upstream did not answer",
            measurements.failures.clone(),
        );
        registry.register(
            "gateway_retries",
            "Requests sent to an upstream once more",
            measurements.retries.clone(),
        );
        registry.register(
            "gateway_requests_in_flight",
            "Requests whose answer is not yet all sent",
            measurements.in_flight.clone(),
        );
        // Whoever watches for an increase does not see one in a count that begins with it.
        let shed = ReasonLabel { reason: SHED };
        drop(measurements.refusals.get_or_create(&shed));
        for upstream in Upstream::ALL {
            drop(measurements.in_flight(upstream));
            drop(measurements.retries.get_or_create(&label(upstream)));
        }
        measurements
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn failed(&self, upstream: Upstream, reason: &'static str) {
        let upstream = upstream.name();
        self.failures
            .get_or_create(&FailureLabels { upstream, reason })
            .inc();
    }

    pub(crate) fn repeated(&self, upstream: Upstream) {
        self.retries.get_or_create(&label(upstream)).inc();
    }

    pub(crate) fn in_flight(&self, upstream: Upstream) -> Gauge {
        self.in_flight.get_or_create_owned(&label(upstream))
    }
}

fn label(upstream: Upstream) -> UpstreamLabel {
    UpstreamLabel {
        upstream: upstream.name(),
    }
}
