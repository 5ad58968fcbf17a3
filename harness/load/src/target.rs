//! Where requests go: the base URL taken apart, and its name resolved for each new connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer of the resolver is used for further connections. Short enough to see a
/// Service move, long enough not to measure the resolver instead of the service.
const RESOLUTION_LIFETIME: Duration = Duration::from_secs(1);

/// Why a base URL cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not a URL at all.
    #[error("the target `{url}` is not a URL; give an absolute one such as http://127.0.0.1:8080")]
    Invalid {
        /// The text as given.
        url: String,
        /// What the parser said.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// No scheme or no host.
    #[error("the target `{0}` is not absolute; give a URL such as http://127.0.0.1:8080")]
    NotAbsolute(String),
    /// `https`.
    #[error("the target `{0}` is https, which the load driver does not speak; give an http URL")]
    Https(String),
    /// Any other scheme.
    #[error("the target `{0}` is not an http URL; give a URL such as http://127.0.0.1:8080")]
    Scheme(String),
}

/// Chooses where new connections go, in the place of a Service's proxy.
pub trait Connector: fmt::Debug + Send + Sync {
    /// The address to dial for a connection to `address`; `None` if it shall count as refused.
    fn endpoint(&self, address: SocketAddr) -> Option<SocketAddr>;
}

/// The target of a load.
#[derive(Debug)]
pub(crate) struct Target {
    host: String,
    port: u16,
    /// The `host` header: the port is left out when it is the default.
    pub(crate) authority: String,
    /// Goes before each request's path; empty, or starts with `/` and does not end with it.
    pub(crate) prefix: String,
    resolved: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    connector: Option<Arc<dyn Connector>>,
}

impl Target {
    /// Takes a base URL apart. Nothing is resolved yet.
    pub(crate) fn parse(
        url: &str,
        connector: Option<Arc<dyn Connector>>,
    ) -> Result<Self, TargetError> {
        let uri: Uri = url.parse().map_err(|source| TargetError::Invalid {
            url: url.to_owned(),
            source,
        })?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(TargetError::NotAbsolute(url.to_owned()));
        };
        match scheme {
            "http" => {}
            "https" => return Err(TargetError::Https(url.to_owned())),
            _ => return Err(TargetError::Scheme(url.to_owned())),
        }
        let port = uri.port_u16().unwrap_or(80);
        let authority = match port {
            80 => host.to_owned(),
            port => format!("{host}:{port}"),
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            resolved: Mutex::new(None),
            connector,
        })
    }

    /// The target's addresses, looked up at most once per [`RESOLUTION_LIFETIME`]. Failures are
    /// not remembered.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let mut resolved = self.resolved.lock().await;
        if let Some((at, addresses)) = &*resolved
            && at.elapsed() < RESOLUTION_LIFETIME
        {
            return Ok(addresses.clone());
        }
        let addresses: Vec<_> = lookup_host((self.host.as_str(), self.port))
            .await?
            .collect();
        *resolved = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
    }

    /// Opens a connection to one of `addresses`, which [`Target::resolve`] gave.
    pub(crate) async fn connect(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let Some(connector) = &self.connector else {
            return TcpStream::connect(addresses).await;
        };
        let chosen = addresses.iter().map(|address| connector.endpoint(*address));
        let endpoints: Vec<SocketAddr> = chosen.flatten().collect();
        if endpoints.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "the service has no endpoint",
            ));
        }
        TcpStream::connect(endpoints.as_slice()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_base_url_apart() {
        let target = Target::parse("http://127.0.0.1:8081/api/", None).unwrap();
        assert_eq!(target.authority, "127.0.0.1:8081");
        assert_eq!(target.prefix, "/api");
        let target = Target::parse("http://localhost", None).unwrap();
        assert_eq!((target.authority.as_str(), target.port), ("localhost", 80));
        assert_eq!(target.prefix, "");
    }

    #[tokio::test]
    async fn resolves_a_bracketed_address() {
        let target = Target::parse("http://[::1]:9000", None).unwrap();
        assert_eq!(target.authority, "[::1]:9000");
        let addresses = target.resolve().await.unwrap();
        assert_eq!(addresses, ["[::1]:9000".parse().unwrap()]);
    }

    #[test]
    fn refuses_what_it_cannot_speak() {
        let error = |url| Target::parse(url, None).unwrap_err();
        assert!(matches!(error("https://localhost"), TargetError::Https(_)));
        assert!(matches!(error("ftp://localhost"), TargetError::Scheme(_)));
        assert!(matches!(error("localhost:80"), TargetError::NotAbsolute(_)));
        assert!(matches!(error("/orders"), TargetError::NotAbsolute(_)));
        assert!(matches!(error("http://a b"), TargetError::Invalid { .. }));
    }
}
