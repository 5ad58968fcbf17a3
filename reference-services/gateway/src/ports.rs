//! What the gateway needs from the outside world.

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;

use crate::domain::Upstream;

/// Why an upstream gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made: nothing of the request was sent.
    #[error("the service cannot be reached")]
    Connect,
    /// Whether it acted on the request is unknown.
    #[error("the service broke the connection off before it answered")]
    Broken,
    /// Whether it acted on the request is unknown.
    #[error("the service did not answer in time")]
    Timeout,
}

/// The services behind the gateway.
#[async_trait]
pub trait Upstreams: Send + Sync {
    /// Sends `request`, whose URI is a path and a query, to `upstream`, at most once; gives its answer
    /// whatever the status. The body of the answer may still be on its way, and is broken off when it
    /// takes too long.
    async fn send(
        &self,
        upstream: Upstream,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, UpstreamError>;
}
