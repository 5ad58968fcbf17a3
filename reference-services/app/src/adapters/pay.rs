//! The pay service, called over HTTP: retries around the protected call.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use service_kit::metrics::{duration_histogram, observe};
use service_kit::resilience::{
    CallError, Command, CommandMetrics, CommandSettings, EndpointSettings, Endpoints,
};
use service_kit::trace::{self, Span, TRACEPARENT};

use super::retries::{PayRetries, PayRetrySettings};
use crate::domain::Order;
use crate::ports::{Cause, PaymentError, Payments, Rollback};

/// What part of pay's answer time pay itself calls simulated, in milliseconds.
const SIMULATED_LATENCY: &str = "x-simulated-latency-ms";

/// Less than pay keeps a connection that lies idle, so that pay never ends one that is just used.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

/// Where pay is and how it is called.
#[derive(Clone, Debug)]
pub struct PayConfig {
    /// Nothing but `http`, host and port.
    pub url: Url,
    /// Ends a call for which nobody waits any more but which still holds its place in the bulkhead.
    pub call_limit: Duration,
    /// What a call is protected by.
    pub command: CommandSettings,
    /// The endpoints that are called, each behind protection of its own; `None` calls the URL's host.
    pub endpoints: Option<EndpointSettings>,
    pub retries: PayRetrySettings,
    /// Whether a connection is used again. One that is not goes wherever the Service sends it at that
    /// moment; one that is stays with its pod.
    pub keeps_connections: bool,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the HTTP client for pay")]
pub struct PayClientError(#[source] reqwest::Error);

/// A client of the pay service.
#[derive(Debug)]
pub struct PayClient {
    client: Client,
    payments_url: Url,
    target: Target,
    retries: PayRetries,
    overhead: Histogram,
}

/// Who is called.
#[derive(Debug)]
enum Target {
    Service(Command),
    Endpoints(Endpoints),
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
    /// Must be called inside a tokio runtime.
    pub async fn start(
        config: &PayConfig,
        registry: &mut Registry,
    ) -> Result<Self, PayClientError> {
        let overhead = duration_histogram();
        registry.register(
            "pay_call_overhead_seconds",
            "Duration of a call to pay minus the latency pay says it simulated",
            overhead.clone(),
        );
        let mut payments_url = config.url.clone();
        payments_url.set_path("/payments");
        let metrics = CommandMetrics::register(registry);
        let command = config.command.clone();
        let target = match config.endpoints.clone() {
            None => Target::Service(Command::start(command, metrics.of("pay"))),
            Some(endpoints) => {
                Target::Endpoints(Endpoints::start("pay", endpoints, command, metrics).await)
            }
        };
        let client = Client::builder()
            .timeout(config.call_limit)
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(if config.keeps_connections {
                usize::MAX
            } else {
                0
            })
            .build()
            .map_err(PayClientError)?;
        Ok(Self {
            client,
            payments_url,
            target,
            retries: PayRetries::new(&config.retries, registry),
            overhead,
        })
    }

    /// What protects all calls; `None` where each endpoint has protection of its own.
    pub fn command(&self) -> Option<Command> {
        match &self.target {
            Target::Service(command) => Some(command.clone()),
            Target::Endpoints(_) => None,
        }
    }

    /// Asks once, at another endpoint than `last`, if there is one; `last` becomes the one asked.
    async fn ask(
        &self,
        order: &Order,
        cause: &Cause,
        last: &mut Option<SocketAddr>,
    ) -> Result<(), PaymentError> {
        let answer = match &self.target {
            Target::Service(command) => {
                let url = self.payments_url.clone();
                command.run(self.attempt(url, order, cause)).await
            }
            Target::Endpoints(endpoints) => {
                let chosen = endpoints.choose(*last).ok_or(PaymentError::Connect)?;
                *last = Some(chosen.address);
                let url = self.url_at(chosen.address);
                chosen.run(self.attempt(url, order, cause)).await
            }
        };
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

    fn url_at(&self, endpoint: SocketAddr) -> Url {
        let mut url = self.payments_url.clone();
        let set = url.set_ip_host(endpoint.ip());
        let set = set.and_then(|()| url.set_port(Some(endpoint.port())));
        set.expect("an HTTP URL can have another host and port");
        url
    }

    /// One call, in a span of its own.
    fn attempt(
        &self,
        url: Url,
        order: &Order,
        cause: &Cause,
    ) -> impl Future<Output = Result<Answer, PaymentError>> + Send + use<> {
        let request = self.client.post(url.clone()).json(&PaymentRequest {
            order_id: order.id.to_string(),
            amount: order.amount(),
        });
        let request = request.header("x-request-id", cause.to_string());
        let parent = cause.traceparent.clone();
        let overhead = self.overhead.clone();
        async move {
            // Only now: a call that the breaker does not let out is none.
            let mut span = trace::calling(&Method::POST, "/payments", &url, parent.as_deref());
            let request = request.header(TRACEPARENT, span.header());
            call(request, &overhead, &mut span).await
        }
    }
}

#[async_trait]
impl Payments for PayClient {
    /// Repeats carry the order's id, too: pay takes the money once. If the order may have been paid by
    /// one of the tries, the error says so whatever became of the others.
    async fn pay(&self, order: &Order, cause: &Cause) -> Result<(), PaymentError> {
        let mut uncertain = None;
        let mut last = None;
        let mut repeats = 0;
        loop {
            self.retries.begin(repeats);
            let Err(error) = self.ask(order, cause, &mut last).await else {
                return Ok(());
            };
            if error.rollback() == Rollback::PerhapsPaid {
                uncertain = Some(error);
            }
            let Some(pause) = self.retries.pause(error, repeats) else {
                return Err(uncertain.unwrap_or(error));
            };
            tracing::debug!(repeats, %error, "asks pay once more");
            tokio::time::sleep(pause).await;
            repeats += 1;
        }
    }
}

async fn call(
    request: RequestBuilder,
    overhead: &Histogram,
    span: &mut Span,
) -> Result<Answer, PaymentError> {
    let started = Instant::now();
    let response = request.send().await;
    let response = response.map_err(|error| failed(&error, span))?;
    if let Some(latency) = simulated_latency(&response) {
        observe(overhead, started.elapsed().saturating_sub(latency));
    }
    let status = response.status();
    trace::answered(span, status);
    // Read to its end, so that the connection can be used again.
    let body = response.bytes().await;
    body.map_err(|error| failed(&error, span))?;
    if status.is_success() {
        Ok(Answer::Paid)
    } else if status == StatusCode::CONFLICT {
        Ok(Answer::Declined)
    } else {
        Err(PaymentError::Upstream)
    }
}

/// A call without a whole answer.
fn failed(error: &reqwest::Error, span: &mut Span) -> PaymentError {
    tracing::debug!(%error, "calling pay");
    let (kind, error) = if error.is_connect() {
        ("connect", PaymentError::Connect)
    } else {
        ("broken", PaymentError::Upstream)
    };
    span.fail(kind, error);
    error
}

fn simulated_latency(response: &Response) -> Option<Duration> {
    let text = response.headers().get(SIMULATED_LATENCY)?.to_str().ok()?;
    let millis: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(millis / 1e3).ok()
}
