//! How one request ended: expected, or one of a closed list of reasons.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The load itself: closed-loop users, each of whom waits for its answer before it sends
    /// again, or the arrivals of an open model.
    Users,
    /// The open-model prober: a fixed rate, a new connection each, whatever the answers.
    Prober,
}

/// Why a request did not end as the experiment expects. The list is closed: a new kind of
/// failure is a new line here, and the compiler asks every report for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The target's name did not resolve.
    Dns,
    /// Nothing listens at the address.
    ConnectRefused,
    /// No answer to the connection attempt before the deadline.
    ConnectTimeout,
    /// The TLS handshake failed, no common version or a certificate that is not trusted, or did not
    /// end before the deadline.
    Tls,
    /// The connection, or its HTTP/2 stream, ended before the response header, or what came was
    /// not HTTP.
    ResetBeforeHeaders,
    /// The connection, or its HTTP/2 stream, was reset after the headers, or the body was not
    /// valid HTTP.
    ResetAfterHeaders,
    /// No response header before the deadline.
    HeaderTimeout,
    /// The body stopped arriving before the deadline.
    BodyStall,
    /// The body ended before its declared length.
    ShortBody,
    /// A 4xx status other than 429 that the experiment does not expect.
    Status4xx,
    /// 429 Too Many Requests.
    Status429,
    /// A 5xx status without a documented refusal header.
    Status5xx,
    /// Any other status that the experiment does not expect.
    StatusOther,
    /// More redirects in a row than are followed, or one that leads nowhere.
    Redirect,
    /// The status was expected, but a check of the answer did not hold, or a part that later
    /// requests need was not in it.
    Check,
    /// Refused by an open circuit breaker (`x-refusal-reason: breaker-open`).
    BreakerOpen,
    /// Refused by a full bulkhead (`x-refusal-reason: bulkhead-full`).
    BulkheadFull,
    /// The service's call to its dependency timed out (`x-refusal-reason: timeout`).
    DependencyTimeout,
    /// The service could not reach its dependency (`x-refusal-reason: connect`).
    DependencyUnreachable,
    /// The service's dependency answered with an error (`x-refusal-reason: upstream-error`).
    DependencyError,
    /// The service ran out of pooled connections (`x-refusal-reason: pool-exhausted`).
    PoolExhausted,
    /// Shed under load (`x-refusal-reason: shed`).
    Shed,
    /// This machine had no local port left. The generator's fault, never the service's.
    NoPort,
    /// This process had no file descriptor left. The generator's fault, never the service's.
    NoDescriptor,
}

impl Reason {
    /// Whether the load generator itself caused the failure: such a failure never lowers
    /// availability, it voids the run.
    #[must_use]
    pub fn is_client_side(self) -> bool {
        matches!(self, Self::NoPort | Self::NoDescriptor)
    }

    /// The reason that a documented `x-refusal-reason` header value stands for.
    #[must_use]
    pub fn from_refusal_header(value: &str) -> Option<Self> {
        Some(match value {
            "breaker-open" => Self::BreakerOpen,
            "bulkhead-full" => Self::BulkheadFull,
            "timeout" => Self::DependencyTimeout,
            "connect" => Self::DependencyUnreachable,
            "upstream-error" => Self::DependencyError,
            "pool-exhausted" => Self::PoolExhausted,
            "shed" => Self::Shed,
            _ => return None,
        })
    }

    /// A few words for people, the same in every report.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Dns => "name not resolved",
            Self::ConnectRefused => "connection refused",
            Self::ConnectTimeout => "connect timeout",
            Self::Tls => "TLS failure",
            Self::ResetBeforeHeaders => "reset before headers",
            Self::ResetAfterHeaders => "reset after headers",
            Self::HeaderTimeout => "header timeout",
            Self::BodyStall => "body stalled",
            Self::ShortBody => "short body",
            Self::Status4xx => "status 4xx",
            Self::Status429 => "status 429",
            Self::Status5xx => "status 5xx",
            Self::StatusOther => "unexpected status",
            Self::Redirect => "redirect",
            Self::Check => "check failed",
            Self::BreakerOpen => "breaker open",
            Self::BulkheadFull => "bulkhead full",
            Self::DependencyTimeout => "dependency timeout",
            Self::DependencyUnreachable => "dependency unreachable",
            Self::DependencyError => "dependency error",
            Self::PoolExhausted => "pool exhausted",
            Self::Shed => "shed",
            Self::NoPort => "no local port (generator)",
            Self::NoDescriptor => "no file descriptor (generator)",
        }
    }
}

/// Everything the recorder learns from one finished request.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// From before the connection (when one was made) to the last body byte, or to the failure.
    pub service_time: Duration,
    /// From the intended send to the same end; `None` for closed-loop users, who intend to send
    /// when they do.
    pub response_time: Option<Duration>,
    /// The status line's code, when headers arrived.
    pub status: Option<u16>,
    /// Body bytes read.
    pub body_bytes: u64,
    /// `None`: as the experiment expects.
    pub failure: Option<Reason>,
    /// The redirects that were followed before this answer.
    pub hops: Vec<Hop>,
    /// The endpoint that was dialled, where it is known: a pod's name.
    pub endpoint: Option<Arc<str>>,
}

/// A redirect that was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// From before its connection, if it made one, to its last body byte.
    pub time: Duration,
    /// Its status.
    pub status: u16,
    /// Its body bytes.
    pub body_bytes: u64,
}

/// One failed request, kept with its circumstances up to a bound per run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedRequest {
    /// Who sent it.
    pub source: Source,
    /// When it ended, since the load began.
    #[serde(with = "crate::duration::seconds")]
    pub ended: Duration,
    /// See [`Sample::service_time`].
    #[serde(with = "crate::duration::seconds")]
    pub service_time: Duration,
    /// Why.
    pub reason: Reason,
    /// The status code, when there was one.
    pub status: Option<u16>,
    /// What was sent: method and path as the experiment has them.
    pub request: String,
    /// The endpoint (pod) that was dialled, where it is known.
    pub endpoint: Option<String>,
    /// The error's own words, or the response's problem title: one line, bounded.
    pub detail: String,
    /// Whether it ended in the drain after the load had stopped.
    pub draining: bool,
}
