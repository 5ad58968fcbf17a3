//! The way to the collector: OTLP over HTTP, in batches, on a thread of its own. No request waits for
//! it, and what a collector that is away should have heard is lost.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Uri;
use axum::http::uri::Scheme;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry::Key;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::losses::Accounted;
use crate::env::Env;
use crate::trace;

/// For one call of the collector.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// How long the last words may take: with what a service otherwise does after its last answer, less
/// than Kubernetes waits for it.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(3);

/// One, and soon. More would keep the thread that tells from its queue, which then overflows
/// uncounted; and a full queue, of several batches, would not be over within the limit of the last
/// words while the collector is away.
const REPEATS_OF_A_BATCH: usize = 1;

/// More than a collector has to say.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Where a collector takes traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The settings of the SDK make no exporter.
#[derive(Debug, thiserror::Error)]
#[error("spans cannot be told to {endpoint}")]
pub struct CollectorError {
    endpoint: Endpoint,
    source: ExporterBuildError,
}

impl Endpoint {
    /// Reads `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, a whole URL, else `OTEL_EXPORTER_OTLP_ENDPOINT`, to
    /// which `/v1/traces` is added; else there is none, as with `OTEL_SDK_DISABLED=true`. What else the
    /// SDK can be told (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`,
    /// `OTEL_BSP_*`, `OTEL_EXPORTER_OTLP_HEADERS`), it reads itself.
    pub fn from_env(env: &mut Env) -> Option<Self> {
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const ALL_SIGNALS: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let is_disabled = env.text("OTEL_SDK_DISABLED");
        if is_disabled.is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return None;
        }
        let (name, url) = match (env.text(TRACES), env.text(ALL_SIGNALS)) {
            (Some(url), _) => (TRACES, url),
            (None, Some(url)) => (
                ALL_SIGNALS,
                format!("{}/v1/traces", url.trim_end_matches('/')),
            ),
            (None, None) => return None,
        };
        let endpoint = Self::parse(&url);
        if endpoint.is_none() {
            env.complain(format!(
                "{name}: expected http://host:port of a collector that speaks OTLP over HTTP; \
                 TLS is for a collector in between"
            ));
        }
        endpoint
    }

    /// A whole URL.
    fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_plain = uri.scheme() == Some(&Scheme::HTTP);
        is_plain.then_some(Self(uri))
    }
}

/// Has the spans of this process told to the collector. Must be called on the runtime.
pub(super) fn start(endpoint: &Endpoint) -> Result<SdkTracerProvider, CollectorError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint.to_string())
        .with_http_client(CollectorClient::new(Handle::current()))
        .with_retry_policy(RetryPolicy::recommended().with_max_retries(REPEATS_OF_A_BATCH))
        .build()
        .map_err(|source| CollectorError {
            endpoint: endpoint.clone(),
            source,
        })?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_batch_exporter(Accounted::new(exporter))
        .build();
    trace::record_with(provider.tracer("service-kit"));
    tracing::info!(collector = %endpoint, "spans are told over OTLP");
    Ok(provider)
}

/// Tells what waits.
pub(super) async fn end(provider: SdkTracerProvider) {
    let ending = move || provider.shutdown_with_timeout(LAST_WORDS_LIMIT);
    match tokio::task::spawn_blocking(ending).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the collector has not heard everything"),
        Err(error) => tracing::error!(%error, "telling the collector the last words"),
    }
}

/// What the environment says of this process; where that has no name for it, its program's.
fn resource() -> Resource {
    let told = Resource::builder().build();
    let name = told.get(&Key::from_static_str("service.name"));
    let name = name.map(|name| name.to_string()).unwrap_or_default();
    match name.strip_prefix("unknown_service:") {
        None => told,
        Some(program) => Resource::builder()
            .with_service_name(program.to_owned())
            .build(),
    }
}

/// Calls the collector on the runtime: whoever exports does not run there.
#[derive(Debug)]
struct CollectorClient {
    runtime: Handle,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl CollectorClient {
    fn new(runtime: Handle) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build_http();
        Self { runtime, client }
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.client.request(request.map(Full::new));
        let exchange = async move {
            let (parts, body) = answer.await?.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        // A timeout, too, can only be made there.
        let call = async move { timeout(CALL_LIMIT, exchange).await? };
        self.runtime.spawn(call).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collector_is_where_the_standard_variables_say() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:1/here");
        let disabled = ("OTEL_SDK_DISABLED", "true");
        for (mut env, expected) in [
            (Env::of_pairs([]), None),
            (
                Env::of_pairs([base]),
                Some("http://collector:4318/v1/traces"),
            ),
            (Env::of_pairs([base, whole]), Some("http://traces:1/here")),
            (Env::of_pairs([base, disabled]), None),
        ] {
            let endpoint = Endpoint::from_env(&mut env).map(|it| it.to_string());
            assert_eq!(endpoint.as_deref(), expected);
            env.finish().unwrap();
        }
    }

    #[test]
    fn what_is_no_plain_http_is_refused() {
        for url in ["https://collector:4318", "collector:4318", "/v1/traces"] {
            let mut env = Env::of_pairs([("OTEL_EXPORTER_OTLP_ENDPOINT", url)]);
            assert_eq!(Endpoint::from_env(&mut env), None);
            let error = env.finish().unwrap_err().to_string();
            assert!(error.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{error}");
        }
    }
}
