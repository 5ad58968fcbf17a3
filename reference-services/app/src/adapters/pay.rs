//! The pay service, called over HTTP.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use service_kit::metrics::{duration_histogram, observe};
use service_kit::resilience::{CallError, Command};
use service_kit::trace::{self, Span, TRACEPARENT};

use crate::domain::Order;
use crate::ports::{Cause, PaymentError, Payments};

/// What part of pay's answer time pay itself calls simulated, in milliseconds.
const SIMULATED_LATENCY: &str = "x-simulated-latency-ms";

/// Less than pay keeps a connection that lies idle, so that pay never ends one that is just used.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

/// Where pay is and how long a call may go on.
#[derive(Clone, Debug)]
pub struct PayConfig {
    /// Scheme, host and port.
    pub url: String,
    /// Ends a call for which nobody waits any more but which still holds its place in the bulkhead.
    pub call_limit: Duration,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the HTTP client for pay")]
pub struct PayClientError(#[source] reqwest::Error);

/// A client of the pay service.
#[derive(Debug)]
pub struct PayClient {
    client: Client,
    payments_url: String,
    command: Command,
    overhead: Histogram,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentRequest {
    order_id: String,
    amount: u32,
}

/// What a pay service that works says about a payment.
#[derive(Clone, Copy)]
enum Answer {
    Paid,
    Declined,
}

impl PayClient {
    pub fn new(
        config: &PayConfig,
        command: Command,
        registry: &mut Registry,
    ) -> Result<Self, PayClientError> {
        let overhead = duration_histogram();
        registry.register(
            "pay_call_overhead_seconds",
            "Duration of a call to pay minus the latency pay says it simulated",
            overhead.clone(),
        );
        Ok(Self {
            client: Client::builder()
                .timeout(config.call_limit)
                .pool_idle_timeout(IDLE_LIMIT)
                .build()
                .map_err(PayClientError)?,
            payments_url: format!("{}/payments", config.url.trim_end_matches('/')),
            command,
            overhead,
        })
    }
}

#[async_trait]
impl Payments for PayClient {
    async fn pay(&self, order: &Order, cause: &Cause) -> Result<(), PaymentError> {
        let mut request = self.client.post(&self.payments_url).json(&PaymentRequest {
            order_id: order.id.to_string(),
            amount: order.amount(),
        });
        request = request.header("x-request-id", cause.to_string());
        let url = self.payments_url.clone();
        let parent = cause.traceparent.clone();
        let overhead = self.overhead.clone();
        let call = async move {
            // Only now: a call that the breaker does not let out is none.
            let mut span = trace::calling(&Method::POST, "/payments", &url, parent.as_deref());
            let request = request.header(TRACEPARENT, span.header());
            call(request, &overhead, &mut span).await
        };
        let answer = self.command.run(call).await;
        match answer {
            Ok(Answer::Paid) => Ok(()),
            Ok(Answer::Declined) => Err(PaymentError::Declined),
            Err(CallError::BreakerOpen { retry_after }) => {
                Err(PaymentError::BreakerOpen { retry_after })
            }
            Err(CallError::BulkheadFull) => Err(PaymentError::BulkheadFull),
            Err(CallError::Timeout(_)) => Err(PaymentError::Timeout),
            Err(CallError::Failed(error)) => Err(error),
        }
    }
}

async fn call(
    request: RequestBuilder,
    overhead: &Histogram,
    span: &mut Span,
) -> Result<Answer, PaymentError> {
    let started = Instant::now();
    let response = request.send().await.map_err(|error| {
        tracing::debug!(%error, "calling pay");
        let (kind, error) = if error.is_connect() {
            ("connect", PaymentError::Connect)
        } else {
            ("broken", PaymentError::Upstream)
        };
        span.fail(kind, error);
        error
    })?;
    if let Some(latency) = simulated_latency(&response) {
        observe(overhead, started.elapsed().saturating_sub(latency));
    }
    let status = response.status();
    trace::answered(span, status);
    // Read to its end, so that the connection can be used again.
    response.bytes().await.map_err(|_| PaymentError::Upstream)?;
    if status.is_success() {
        Ok(Answer::Paid)
    } else if status == StatusCode::CONFLICT {
        Ok(Answer::Declined)
    } else {
        Err(PaymentError::Upstream)
    }
}

fn simulated_latency(response: &Response) -> Option<Duration> {
    let text = response.headers().get(SIMULATED_LATENCY)?.to_str().ok()?;
    let millis: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(millis / 1e3).ok()
}
