//! Where requests go: the base URL taken apart, and its name resolved for each new connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};

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
    /// Any scheme but `http` and `https`.
    #[error("the target `{0}` is neither http nor https; give a URL such as http://127.0.0.1:8080")]
    Scheme(String),
    /// `https` to something that no certificate can name.
    #[error("the target `{url}` cannot be named in a certificate")]
    Name {
        /// The text as given.
        url: String,
        /// What is wrong with the name.
        #[source]
        source: InvalidDnsNameError,
    },
}

/// Chooses where new connections go, in the place of a Service's proxy.
pub trait Connector: fmt::Debug + Send + Sync {
    /// What to dial for a connection to `address`: the address itself where the connector knows of
    /// nothing else; `None` if the connection shall count as refused.
    fn endpoint(&self, address: SocketAddr) -> Option<Endpoint>;
}

/// What answers at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to dial.
    pub address: SocketAddr,
    /// The pod's name, where it is known.
    pub name: Option<Arc<str>>,
}

/// The target of a load, or of one of its requests.
#[derive(Debug)]
pub(crate) struct Target {
    host: String,
    port: u16,
    /// The `host` header: the port is left out when it is the default.
    pub(crate) authority: String,
    /// Goes before each request's path; empty, or starts with `/` and does not end with it.
    pub(crate) prefix: String,
    /// Whom the certificate must name; `None`: plain HTTP.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// The address itself, where the URL has it.
    address: Option<Arc<[SocketAddr]>>,
    resolved: Mutex<Option<(Instant, Arc<[SocketAddr]>)>>,
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
        let name = host.trim_matches(['[', ']']).to_owned();
        let (default_port, server_name) = match scheme {
            "http" => (80, None),
            "https" => {
                let server_name = ServerName::try_from(name.clone());
                let server_name = server_name.map_err(|source| TargetError::Name {
                    url: url.to_owned(),
                    source,
                })?;
                (443, Some(server_name))
            }
            _ => return Err(TargetError::Scheme(url.to_owned())),
        };
        let port = uri.port_u16().unwrap_or(default_port);
        let authority = if port == default_port {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let address = name.parse::<IpAddr>().ok();
        Ok(Self {
            host: name,
            port,
            authority,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            server_name,
            address: address.map(|address| Arc::from([SocketAddr::new(address, port)])),
            resolved: Mutex::new(None),
            connector,
        })
    }

    /// The target of another URL, with the same connector.
    pub(crate) fn with_url(&self, url: &str) -> Result<Self, TargetError> {
        Self::parse(url, self.connector.clone())
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.server_name {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Whether it is the target of this absolute URL without a path.
    pub(crate) fn is_at(&self, origin: &str) -> bool {
        let own = origin.strip_prefix(self.scheme());
        self.prefix.is_empty()
            && own.and_then(|rest| rest.strip_prefix("://")) == Some(&self.authority)
    }

    /// Whether a connection to one is a connection to the other.
    pub(crate) fn is_same_origin(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.scheme() == other.scheme()
                && self.port == other.port
                && self.host.eq_ignore_ascii_case(&other.host))
    }

    /// The target's addresses, looked up at most once per [`RESOLUTION_LIFETIME`]. Failures are
    /// not remembered.
    pub(crate) async fn resolve(&self) -> io::Result<Arc<[SocketAddr]>> {
        if let Some(address) = &self.address {
            return Ok(Arc::clone(address));
        }
        let mut resolved = self.resolved.lock().await;
        if let Some((at, addresses)) = &*resolved
            && at.elapsed() < RESOLUTION_LIFETIME
        {
            return Ok(Arc::clone(addresses));
        }
        let addresses = lookup_host((self.host.as_str(), self.port)).await?;
        let addresses: Arc<[_]> = addresses.collect();
        *resolved = Some((Instant::now(), Arc::clone(&addresses)));
        Ok(addresses)
    }

    /// What to dial for a connection to `address`, which [`Target::resolve`] gave; `None` if it
    /// shall count as refused.
    pub(crate) fn endpoint(&self, address: SocketAddr) -> Option<Endpoint> {
        match &self.connector {
            Some(connector) => connector.endpoint(address),
            None => Some(Endpoint {
                address,
                name: None,
            }),
        }
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
        let target = Target::parse("https://localhost:443", None).unwrap();
        assert_eq!((target.authority.as_str(), target.port), ("localhost", 443));
        assert_eq!(target.scheme(), "https");
    }

    #[tokio::test]
    async fn resolves_a_bracketed_address() {
        let target = Target::parse("http://[::1]:9000", None).unwrap();
        assert_eq!(target.authority, "[::1]:9000");
        let addresses = target.resolve().await.unwrap();
        assert_eq!(*addresses, ["[::1]:9000".parse().unwrap()]);
    }

    #[test]
    fn refuses_what_it_cannot_speak() {
        let error = |url| Target::parse(url, None).unwrap_err();
        assert!(matches!(error("ftp://localhost"), TargetError::Scheme(_)));
        assert!(matches!(error("localhost:80"), TargetError::NotAbsolute(_)));
        assert!(matches!(error("/orders"), TargetError::NotAbsolute(_)));
        assert!(matches!(error("http://a b"), TargetError::Invalid { .. }));
        assert!(matches!(error("https://a..b"), TargetError::Name { .. }));
    }
}
