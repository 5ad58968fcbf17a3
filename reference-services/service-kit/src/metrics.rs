//! The measurements of a service, served in the OpenMetrics text format: its own, and of every request
//! how many there were, how they ended and how long they took.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use requests::Requests;

pub(crate) use grpc::grpc_status;
pub(crate) use requests::method_label;

use crate::{telemetry, trace};

mod grpc;
mod requests;

/// Measures every request to `api`, each in a span of its own ([`crate::trace`]).
pub fn measured(api: Router, registry: &mut Registry) -> Router {
    let requests = Requests::register(registry);
    telemetry::register_losses(registry);
    api.layer(from_fn_with_state(requests, requests::measure))
        .layer(from_fn(trace::served))
}

/// What was registered, at `/metrics`.
pub fn shown(registry: Registry) -> Router {
    let registry = Arc::new(registry);
    Router::new().route("/metrics", get(move || async move { render(&registry) }))
}

fn render(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A histogram of durations, in seconds, from a tenth of a millisecond up to ten seconds.
pub fn duration_histogram() -> Histogram {
    Histogram::new([
        0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.01, 0.015, 0.025,
        0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 1.0, 2.5, 5.0, 10.0,
    ])
}

/// One that a gauge counts for as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn by(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Adds one duration to a histogram of seconds.
pub fn observe(histogram: &Histogram, duration: Duration) {
    histogram.observe(duration.as_secs_f64());
}
