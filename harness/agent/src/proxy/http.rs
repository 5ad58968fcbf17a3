//! One connection whose requests are looked at one by one: HTTP/1 and, by prior knowledge, HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri, Version, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::copy_bidirectional;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::counts::increment;
use super::faults::Fate;
use super::stream::{Reset, Stream};

/// Tells an injected answer from the upstream's.
const INJECTED: &str = "x-holdfast-injected";

type Body = BoxBody<Bytes, hyper::Error>;

/// The client's connection is to be reset.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset")]
struct Broken;

/// Answers the requests of a client until either side ends. An upstream that breaks off makes the
/// client see a reset.
pub(super) async fn serve(client: Stream, upstream: Stream, reset: Reset, shared: Arc<Shared>) {
    let exchange = Arc::new(Exchange {
        upstream: Upstream {
            stream: Mutex::new(Some(upstream)),
            sender: OnceCell::new(),
            gone: CancellationToken::new(),
        },
        reset: reset.clone(),
        shared: Arc::clone(&shared),
    });
    let service = {
        let exchange = Arc::clone(&exchange);
        service_fn(move |request| Arc::clone(&exchange).answer(request))
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // What passes is to look as if nobody had been there.
    builder
        .http1()
        .half_close(true)
        .header_read_timeout(None)
        .preserve_header_case(true)
        .auto_date_header(false);
    builder.http2().auto_date_header(false);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(client), service);
    tokio::pin!(connection);
    let mut closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if ended.is_err_and(|error| !is_mistake(&*error)) {
                    reset.request();
                }
                return;
            }
            () = reset.requested() => return,
            () = exchange.upstream.gone.cancelled(), if !closing => closing = true,
            () = shared.closing.cancelled(), if !closing => closing = true,
        }
        if closing {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection.as_mut() => {}
                () = reset.requested() => {}
            }
            return;
        }
    }
}

/// Whether the client spoke no HTTP, which it has been told.
fn is_mistake(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<hyper::Error>();
    error.is_some_and(hyper::Error::is_parse)
}

/// A client's connection and its upstream.
#[derive(Debug)]
struct Exchange {
    upstream: Upstream,
    reset: Reset,
    shared: Arc<Shared>,
}

impl Exchange {
    async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Broken> {
        let faults = &self.shared.faults;
        let counts = &self.shared.counts;
        let number = increment(&counts.requests);
        let delay = faults.delay(number);
        counts.delayed(delay);
        faults.wait_until(Instant::now() + delay).await;
        match faults.fate(number) {
            Fate::Pass => self.forward(request).await,
            Fate::Error => {
                increment(&counts.errors);
                // Read first, or the connection could not be used again.
                while let Some(Ok(_)) = request.body_mut().frame().await {}
                Ok(injected(faults.status))
            }
            Fate::Abort => {
                increment(&counts.aborts);
                self.reset.request();
                Err(Broken)
            }
        }
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let client_side = request
            .headers()
            .contains_key(header::UPGRADE)
            .then(|| hyper::upgrade::on(&mut request));
        let mut response = self.upstream.ask(request).await.map_err(|Broken| {
            self.reset.request();
            Broken
        })?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(client_side) = client_side
        {
            let upstream_side = hyper::upgrade::on(&mut response);
            let joined = join(client_side, upstream_side, self.reset.clone());
            self.shared.connections.spawn(joined);
        }
        let reset = self.reset.clone();
        Ok(response.map(|body| {
            let body = body.map_err(move |error| {
                reset.request();
                error
            });
            body.boxed()
        }))
    }
}

fn injected(status: StatusCode) -> Response<Body> {
    let text = Full::from("injected by the holdfast agent\n");
    let mut response = Response::new(text.map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    let value = header::HeaderValue::from_static("error");
    response.headers_mut().insert(INJECTED, value);
    response
}

/// Joins both sides of a connection that speaks something else from now on.
async fn join(client: OnUpgrade, upstream: OnUpgrade, reset: Reset) {
    let Ok((client, upstream)) = tokio::try_join!(client, upstream) else {
        reset.request();
        return;
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    // Before the connections are dropped, which is when they end.
    if copy_bidirectional(&mut client, &mut upstream)
        .await
        .is_err()
    {
        reset.request();
    }
}

/// The connection to the upstream. It speaks what the client speaks, which its first request tells.
#[derive(Debug)]
struct Upstream {
    stream: Mutex<Option<Stream>>,
    sender: OnceCell<Sender>,
    /// Cancelled when the connection has ended.
    gone: CancellationToken,
}

#[derive(Debug)]
enum Sender {
    Http1(Mutex<hyper::client::conn::http1::SendRequest<Incoming>>),
    Http2(hyper::client::conn::http2::SendRequest<Incoming>),
}

impl Upstream {
    async fn ask(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, Broken> {
        let version = request.version();
        let sender = self.sender.get_or_try_init(|| self.greet(version)).await?;
        let answer = match sender {
            Sender::Http1(sender) => sender.lock().await.send_request(request).await,
            Sender::Http2(sender) => {
                name_authority(&mut request);
                sender.clone().send_request(request).await
            }
        };
        answer.map_err(|_| Broken)
    }

    async fn greet(&self, version: Version) -> Result<Sender, Broken> {
        let stream = self.stream.lock().await.take().ok_or(Broken)?;
        let stream = TokioIo::new(stream);
        let gone = self.gone.clone().drop_guard();
        if version == Version::HTTP_2 {
            let executor = TokioExecutor::new();
            let (sender, connection) = hyper::client::conn::http2::handshake(executor, stream)
                .await
                .map_err(|_| Broken)?;
            tokio::spawn(async move {
                // How it ended, the requests know.
                drop(connection.await);
                drop(gone);
            });
            return Ok(Sender::Http2(sender));
        }
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .preserve_header_case(true)
            .handshake(stream)
            .await
            .map_err(|_| Broken)?;
        tokio::spawn(async move {
            drop(connection.with_upgrades().await);
            drop(gone);
        });
        Ok(Sender::Http1(Mutex::new(sender)))
    }
}

/// HTTP/2 wants to know whom it asks, which a client may have said in a header only.
fn name_authority(request: &mut Request<Incoming>) {
    if request.uri().authority().is_some() {
        return;
    }
    let host = request.headers().get(header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = authority.or_else(|| Some(Authority::from_static("upstream")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}
