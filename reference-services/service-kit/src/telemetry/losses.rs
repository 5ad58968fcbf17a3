//! Counts the spans that the collector did not take.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Of the whole process, as its collector is.
static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Shows the count among a service's metrics.
pub(crate) fn register_losses(registry: &mut Registry) {
    registry.register(
        "trace_spans_lost",
        "Spans that the collector was to be told and did not take",
        LOST.clone(),
    );
}

/// An exporter that never fails: what it loses is counted, and a word in the log says so when it
/// begins and when it is over.
#[derive(Debug)]
pub(super) struct Accounted<E> {
    exporter: E,
    /// Since a batch was last taken.
    lost: AtomicU64,
}

impl<E> Accounted<E> {
    pub(super) fn new(exporter: E) -> Self {
        Self {
            exporter,
            lost: AtomicU64::new(0),
        }
    }
}

impl<E: SpanExporter> SpanExporter for Accounted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        match self.exporter.export(batch).await {
            Ok(()) => match self.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => tracing::info!(lost, "the collector takes spans again"),
            },
            Err(error) => {
                LOST.inc_by(spans);
                if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 {
                    tracing::warn!(%error, "the collector does not take spans: they are lost until it does");
                } else {
                    tracing::debug!(%error, spans, "the collector still does not take spans");
                }
            }
        }
        Ok(())
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
