//! Opens the connections of a load: resolves, connects, secures.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use holdfast_core::experiment::{HttpVersion, Redirects, Transport};
use holdfast_core::outcome::Reason;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::failure::{self, Failure};
use crate::link::{Link, Protocol};
use crate::message::RequestError;
use crate::progress::{Progress, Step};
use crate::stream::Stream;
use crate::target::Target;
use crate::tls::{self, TlsError};
use crate::{http1, http2};

/// Most targets beside the load's own that all senders share: redirects may name any number.
const TARGETS_LIMIT: usize = 1000;

/// How connections are opened. All senders of a load share one.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) transport: Transport,
    tls: OnceLock<Result<Arc<ClientConfig>, Arc<TlsError>>>,
    targets: Mutex<Vec<Arc<Target>>>,
}

impl Dialer {
    /// A dialer for a load whose own target is `target`.
    pub(crate) fn new(transport: Transport, target: &Arc<Target>) -> Result<Self, RequestError> {
        let follows = transport.redirects == Redirects::Follow;
        let dialer = Self {
            transport,
            tls: OnceLock::new(),
            targets: Mutex::new(vec![Arc::clone(target)]),
        };
        if target.server_name.is_some() {
            dialer.tls().map_err(RequestError::Tls)?;
        } else if follows {
            // A redirect may need it in the middle of the load, when there is no time to read
            // files. That there is none is said when one does.
            drop(dialer.tls());
        }
        Ok(dialer)
    }

    /// The target of an absolute URL without a path, with the same connector as `sibling`.
    pub(crate) fn target(
        &self,
        origin: &str,
        sibling: &Arc<Target>,
    ) -> Result<Arc<Target>, RequestError> {
        if sibling.is_at(origin) {
            return Ok(Arc::clone(sibling));
        }
        let target = sibling.with_url(origin).map_err(RequestError::Target)?;
        if target.server_name.is_some() {
            self.tls().map_err(RequestError::Tls)?;
        }
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&Arc<Target>| known.is_same_origin(&target) && known.prefix.is_empty();
        if let Some(known) = targets.iter().find(same) {
            return Ok(Arc::clone(known));
        }
        let target = Arc::new(target);
        if targets.len() < TARGETS_LIMIT {
            targets.push(Arc::clone(&target));
        }
        Ok(target)
    }

    /// Every target known so far, the load's own first.
    pub(crate) fn targets(&self) -> Vec<Arc<Target>> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.clone()
    }

    /// Opens a connection.
    pub(crate) async fn dial(
        &self,
        target: &Arc<Target>,
        progress: &mut Progress<'_>,
    ) -> Result<Link, Failure> {
        progress.step = Step::Resolve;
        let addresses = target.resolve().await;
        let addresses = addresses.map_err(|error| Failure::of_resolution(&error))?;
        progress.step = Step::Connect;
        let stream = connect(target, &addresses, progress).await?;
        let stream = match &target.server_name {
            None => Stream::Plain(stream),
            Some(name) => {
                progress.step = Step::Secure;
                self.secure(stream, name).await?
            }
        };
        progress.step = Step::Headers;
        let protocol = match self.transport.http {
            HttpVersion::Http1 => Protocol::Http1(http1::Connection::new(stream)),
            HttpVersion::Http2 => {
                let connection = http2::Connection::open(stream).await?;
                Protocol::Http2(Box::new(connection))
            }
        };
        Ok(Link {
            target: Arc::clone(target),
            endpoint: progress.endpoint.clone(),
            protocol,
        })
    }

    async fn secure(
        &self,
        stream: TcpStream,
        name: &ServerName<'static>,
    ) -> Result<Stream, Failure> {
        let tls = self.tls();
        let tls = tls.map_err(|error| Failure::new(Reason::Tls, &failure::words(&error)))?;
        let stream = TlsConnector::from(tls).connect(name.clone(), stream).await;
        let stream = stream.map_err(|error| Failure::of_handshake(&error))?;
        let agreed = stream.get_ref().1.alpn_protocol();
        let wanted = tls::protocol(self.transport.http);
        // A server that knows no ALPN speaks HTTP/1.1.
        let speaks = agreed.map_or(self.transport.http == HttpVersion::Http1, |it| it == wanted);
        if !speaks {
            return Err(Failure::new(
                Reason::Tls,
                "the server did not agree to HTTP/2 (ALPN h2)",
            ));
        }
        Ok(Stream::Secure(Box::new(stream)))
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Arc<TlsError>> {
        let tls = self
            .tls
            .get_or_init(|| tls::config(&self.transport).map_err(Arc::new));
        tls.clone()
    }
}

/// Connects to the first address that takes a connection.
async fn connect(
    target: &Target,
    addresses: &[SocketAddr],
    progress: &mut Progress<'_>,
) -> Result<TcpStream, Failure> {
    let mut failure = None;
    for address in addresses {
        let Some(endpoint) = target.endpoint(*address) else {
            let words = "the service has no endpoint";
            failure = Some(Failure::new(Reason::ConnectRefused, words));
            continue;
        };
        progress.endpoint = endpoint.name;
        let connected = TcpStream::connect(endpoint.address).await;
        match connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Some(Failure::of_connect(&error)),
        }
    }
    Err(failure.unwrap_or_else(|| Failure::new(Reason::Dns, "the name has no address")))
}
