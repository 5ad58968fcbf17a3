//! The use cases of the gateway: who may pass, and a request's way to its upstream and back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response};
use bytes::Bytes;

use crate::admission::Admission;
use crate::authority::{Authority, Grant, GrantError};
use crate::domain::{Resource, Scope, Upstream};
use crate::limits::{Limiter, Subject, TooMany};
use crate::measurements::{Measurements, SHED};
use crate::ports::{UpstreamError, Upstreams};
use crate::retries::{UpstreamRetries, is_safe};
use crate::tokens::{Identity, TokenError};

/// Why the gateway itself answers a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the access token is not good for {0}")]
    Scope(Scope),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("the gateway has as many requests in hand as it takes")]
    Shed,
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Why no token was granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    Grant(#[from] GrantError),
}

/// The gateway.
pub struct Gateway {
    /// `None` lets everybody in.
    pub authority: Option<Authority>,
    /// `None` is no limit.
    pub limiter: Option<Limiter>,
    pub admission: Admission,
    pub retries: UpstreamRetries,
    pub upstreams: Arc<dyn Upstreams>,
    pub measurements: Measurements,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// Whether a request with this token may use `resource` now.
    pub fn check(
        &self,
        resource: &'static Resource,
        method: &Method,
        token: Result<&str, TokenError>,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        self.may_pass(resource, method, token, address)
            .inspect_err(|refusal| self.measurements.refused(refusal.label()))
    }

    /// Sends `request` on and brings the answer back.
    pub async fn forward(
        &self,
        upstream: Upstream,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, Refusal> {
        let Some(place) = self.admission.enter(upstream) else {
            self.measurements.refused(Refusal::Shed.label());
            return Err(Refusal::Shed);
        };
        let response = self.send_until_answered(upstream, request).await?;
        Ok(place.until_sent(response))
    }

    /// A token for the client of this id and secret; see [`Authority::grant`].
    pub fn grant(
        &self,
        (id, secret): (&str, &str),
        scope: Option<&str>,
        address: IpAddr,
    ) -> Result<Grant, TokenRefusal> {
        // By address, whatever id is claimed: whoever guesses secrets must not lock their owner out.
        self.count(&Subject::at(address))?;
        let Some(authority) = &self.authority else {
            return Err(GrantError::InvalidClient.into());
        };
        Ok(authority.grant(id, secret, scope)?)
    }

    fn may_pass(
        &self,
        resource: &'static Resource,
        method: &Method,
        token: Result<&str, TokenError>,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        let Some(authority) = &self.authority else {
            return Ok(self.count(&Subject::at(address))?);
        };
        let identity = token.and_then(|token| authority.identify(token));
        self.count(&match &identity {
            Ok(Identity { client, .. }) => Subject::Client(client.clone()),
            Err(_) => Subject::at(address),
        })?;
        let needed = Scope::needed(resource, method);
        if identity?.scopes.0.contains(&needed) {
            Ok(())
        } else {
            Err(Refusal::Scope(needed))
        }
    }

    fn count(&self, subject: &Subject) -> Result<(), TooMany> {
        self.limiter
            .as_ref()
            .map_or(Ok(()), |limiter| limiter.check(subject))
    }

    async fn send_until_answered(
        &self,
        upstream: Upstream,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, UpstreamError> {
        let retries = self.retries.to(upstream);
        retries.deposit();
        let mut repeats = 0;
        loop {
            let error = match self.upstreams.send(upstream, request.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            self.measurements.failed(upstream, label(error));
            let pause = is_safe(request.method(), request.headers(), error)
                .then(|| retries.pause(repeats).ok())
                .flatten();
            let Some(pause) = pause else {
                tracing::debug!(upstream = upstream.name(), repeats, "{error}");
                return Err(error);
            };
            self.measurements.repeated(upstream);
            tokio::time::sleep(pause).await;
            repeats += 1;
        }
    }
}

impl Refusal {
    fn label(&self) -> &'static str {
        match self {
            Self::Token(TokenError::Missing) => "token-missing",
            Self::Token(TokenError::Expired) => "token-expired",
            Self::Token(TokenError::Invalid) => "token-invalid",
            Self::Scope(_) => "scope",
            Self::TooMany(_) => "rate",
            Self::Shed => SHED,
            Self::Upstream(error) => label(*error),
        }
    }
}

fn label(error: UpstreamError) -> &'static str {
    match error {
        UpstreamError::Connect => "connect",
        UpstreamError::Broken => "broken",
        UpstreamError::Timeout => "timeout",
    }
}

/// How long a client that was shed should wait before it tries again.
pub const SHED_PAUSE: Duration = Duration::from_secs(1);
