//! The services behind the gateway, called over HTTP/1.1 through connections that are kept.

use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Request, Response, Uri};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use service_kit::deadline::DeadlineBody;
use service_kit::trace::{self, TRACEPARENT};
use tokio::time::{Instant, timeout_at};

use crate::domain::Upstream;
use crate::ports::{UpstreamError, Upstreams};

/// Less than the services keep a connection that lies idle, so that none is ended just as it is used.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

/// Where the upstreams are and how long one may take.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Host and port of each, in the order of [`Upstream::ALL`].
    pub addresses: [Authority; Upstream::ALL.len()],
    pub connect_timeout: Duration,
    /// For one try, from its beginning to the last byte of its answer.
    pub timeout: Duration,
}

/// The upstreams over HTTP.
#[derive(Debug)]
pub struct HttpUpstreams {
    client: Client<HttpConnector, Full<Bytes>>,
    settings: UpstreamSettings,
}

impl HttpUpstreams {
    pub fn new(settings: UpstreamSettings) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(settings.connect_timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .build(connector);
        Self { client, settings }
    }

    fn uri(&self, upstream: Upstream, asked: &Uri) -> Uri {
        let mut parts = Uri::default().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.settings.addresses[upstream as usize].clone());
        let path = asked.path_and_query().cloned();
        parts.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
        Uri::from_parts(parts).expect("scheme, host and path make a URI")
    }
}

#[async_trait]
impl Upstreams for HttpUpstreams {
    async fn send(
        &self,
        upstream: Upstream,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, UpstreamError> {
        let deadline = Instant::now() + self.settings.timeout;
        let mut request = request.map(Full::new);
        *request.uri_mut() = self.uri(upstream, request.uri());
        let parent = request.headers().get(TRACEPARENT);
        let parent = parent.and_then(|parent| parent.to_str().ok());
        let mut span = trace::calling(request.method(), upstream.name(), request.uri(), parent);
        request.headers_mut().insert(TRACEPARENT, span.header());
        // A kept connection that turns out to be closed before anything was written to it is replaced
        // by the client itself. That is no second try: nothing was sent.
        let answer = timeout_at(deadline, self.client.request(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                tracing::debug!(upstream = upstream.name(), ?error, "no answer");
                let (kind, error) = if error.is_connect() {
                    ("connect", UpstreamError::Connect)
                } else {
                    ("broken", UpstreamError::Broken)
                };
                span.fail(kind, error);
                return Err(error);
            }
            Err(_elapsed) => {
                span.fail("timeout", UpstreamError::Timeout);
                return Err(UpstreamError::Timeout);
            }
        };
        trace::answered(&mut span, response.status());
        Ok(response.map(|body| Body::new(DeadlineBody::new(body, deadline))))
    }
}
