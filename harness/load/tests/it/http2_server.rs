//! A server that speaks HTTP/2, does what it is told and keeps its own ledger.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the server does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// A status, a header and a body.
    Answer(u16, (&'static str, &'static str), &'static str),
    /// `201`, and takes no further request on this connection.
    CreatedThenGoAway,
    /// Resets the stream instead of an answer.
    ResetBeforeHeaders,
    /// Says that it has not looked at the request.
    Refuse,
    /// Closes the connection instead of an answer.
    CloseBeforeHeaders,
    /// Never answers.
    StallHeaders,
    /// Sends headers and half a body, then resets the stream.
    ResetAfterHeaders,
    /// Sends headers and half a body, then nothing more.
    StallBody,
    /// Sends headers and half a body, and says that it is the whole.
    ShortBody,
    /// Sends headers and half a body, then closes the connection.
    CloseInBody,
}

/// `201` with a small body.
pub(crate) const CREATED: Act = Act::Answer(201, ("x-a", "b"), "{\"id\":1}");

/// Requests that are enough to see what there is to see.
const ENOUGH: u64 = 12;

/// Half a body.
const HALF: &[u8] = b"0123456789";

/// What the server saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) connections: u64,
    pub(crate) acts: BTreeMap<Act, u64>,
    /// The first requests' heads.
    pub(crate) heads: Vec<(http::Method, http::Uri, http::HeaderMap)>,
    pub(crate) bodies: Vec<Vec<u8>>,
}

impl Ledger {
    pub(crate) fn requests(&self) -> u64 {
        self.acts.values().sum()
    }
}

type Script = dyn Fn(u64) -> Act + Send + Sync;

/// A running server; ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    /// Cancelled when the server has seen [`ENOUGH`].
    pub(crate) enough: CancellationToken,
    scheme: &'static str,
    ledger: Arc<Mutex<Ledger>>,
    _stop: DropGuard,
}

impl Server {
    /// A server that asks `script` what to do with each request by its number from 0; behind TLS
    /// when it has a configuration for it.
    pub(crate) async fn start(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(u64) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let stop = CancellationToken::new();
        let (accepting, kept) = (stop.clone(), Arc::clone(&ledger));
        let enough = CancellationToken::new();
        let seen_enough = enough.clone();
        let script: Arc<Script> = Arc::new(move |number| {
            if number + 1 >= ENOUGH {
                seen_enough.cancel();
            }
            script(number)
        });
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = accepting.run_until_cancelled(listener.accept()).await
            {
                stream.set_nodelay(true).unwrap();
                kept.lock().unwrap().connections += 1;
                let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
                let (stream, below) = twice(stream);
                let tls = tls.clone();
                let serving = async move {
                    match tls.map(TlsAcceptor::from) {
                        None => serve(stream, below, script, kept).await,
                        Some(tls) => {
                            let stream = tls.accept(stream).await.unwrap();
                            serve(stream, below, script, kept).await;
                        }
                    }
                };
                tokio::spawn(accepting.clone().run_until_cancelled_owned(serving));
            }
        });
        Self {
            address,
            enough,
            scheme,
            ledger,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger.lock().unwrap().clone()
    }
}

/// The same connection twice.
fn twice(stream: TcpStream) -> (TcpStream, TcpStream) {
    let one = stream.into_std().unwrap();
    let other = one.try_clone().unwrap();
    (
        TcpStream::from_std(one).unwrap(),
        TcpStream::from_std(other).unwrap(),
    )
}

/// Ends a connection. Closed with something unread it would be a reset.
async fn end(mut connection: TcpStream) {
    connection.shutdown().await.ok();
    connection.read_to_end(&mut Vec::new()).await.ok();
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    below: TcpStream,
    script: Arc<Script>,
    ledger: Arc<Mutex<Ledger>>,
) {
    let mut builder = h2::server::Builder::new();
    builder.max_send_buffer_size(HALF.len());
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    let mut answering = JoinSet::new();
    let (close, go_away) = (CancellationToken::new(), CancellationToken::new());
    loop {
        tokio::select! {
            () = close.cancelled() => return end(below).await,
            () = go_away.cancelled(), if !go_away.is_cancelled() => connection.graceful_shutdown(),
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else {
                    return;
                };
                let ends = (close.clone(), go_away.clone());
                answering.spawn(answer(request, respond, Arc::clone(&script), Arc::clone(&ledger), ends));
            }
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    script: Arc<Script>,
    ledger: Arc<Mutex<Ledger>>,
    (close, go_away): (CancellationToken, CancellationToken),
) {
    let (head, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(data)) = incoming.data().await {
        incoming
            .flow_control()
            .release_capacity(data.len())
            .unwrap();
        body.extend_from_slice(&data);
    }
    let act = {
        let mut ledger = ledger.lock().unwrap();
        let act = script(ledger.requests());
        *ledger.acts.entry(act).or_default() += 1;
        if ledger.heads.len() < 100 {
            ledger.heads.push((head.method, head.uri, head.headers));
            ledger.bodies.push(body);
        }
        act
    };
    let half = |respond: &mut SendResponse<Bytes>| {
        let head = Response::builder().status(201).header("content-length", 20);
        let mut sending = respond
            .send_response(head.body(()).unwrap(), false)
            .unwrap();
        sending.send_data(Bytes::from_static(HALF), false).unwrap();
        sending
    };
    match act {
        Act::Answer(status, (name, value), body) => {
            let head = Response::builder().status(status).header(name, value);
            let mut sending = respond
                .send_response(head.body(()).unwrap(), false)
                .unwrap();
            sending
                .send_data(Bytes::from_static(body.as_bytes()), true)
                .unwrap();
        }
        Act::CreatedThenGoAway => {
            let head = Response::builder().status(201).body(()).unwrap();
            respond.send_response(head, true).unwrap();
            go_away.cancel();
        }
        Act::ResetBeforeHeaders => respond.send_reset(Reason::INTERNAL_ERROR),
        Act::Refuse => respond.send_reset(Reason::REFUSED_STREAM),
        Act::CloseBeforeHeaders => close.cancel(),
        Act::StallHeaders => close.cancelled().await,
        Act::ResetAfterHeaders => {
            let mut sending = half(&mut respond);
            until_sent(&mut sending).await;
            sending.send_reset(Reason::INTERNAL_ERROR);
        }
        Act::StallBody => {
            let _sending = half(&mut respond);
            close.cancelled().await;
        }
        Act::ShortBody => {
            let mut sending = half(&mut respond);
            sending.send_data(Bytes::new(), true).unwrap();
        }
        Act::CloseInBody => {
            let mut sending = half(&mut respond);
            until_sent(&mut sending).await;
            close.cancel();
            // Dropped here it would reset the stream first.
            pending::<()>().await;
        }
    }
}

/// A reset discards what has not been sent. There is room for more once it has.
async fn until_sent(sending: &mut SendStream<Bytes>) {
    sending.reserve_capacity(1);
    poll_fn(|context| sending.poll_capacity(context)).await;
}
