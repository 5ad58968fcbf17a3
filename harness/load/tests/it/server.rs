//! A server that does what it is told, request by request, and keeps its own ledger.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the server does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// `201` with a small JSON body.
    Created,
    /// `201` after a delay.
    CreatedAfter(Duration),
    /// Any status, with this header line (or none) and body.
    Answer(u16, &'static str, &'static str),
    /// `201` with the request's own body; its path is in the header `x-path`.
    Echo,
    /// Ends the connection without an answer.
    CloseBeforeHeaders,
    /// Resets it without an answer.
    ResetBeforeHeaders,
    /// Answers something that is not HTTP.
    Garbage,
    /// Never answers.
    StallHeaders,
    /// Sends headers and half a body, then resets.
    ResetAfterHeaders,
    /// Sends headers and half a body, then nothing more.
    StallBody,
    /// Sends headers and half a body, then ends the connection.
    ShortBody,
    /// Sends a chunk whose length is no number.
    BadChunk,
    /// Answers `201` and ends the connection although the client would keep it.
    CreatedThenClose,
}

impl Act {
    /// The status that a client sees, if it sees one.
    pub(crate) fn status(self) -> Option<u16> {
        match self {
            Self::Created
            | Self::CreatedAfter(_)
            | Self::CreatedThenClose
            | Self::Echo
            | Self::ResetAfterHeaders
            | Self::StallBody
            | Self::ShortBody
            | Self::BadChunk => Some(201),
            Self::Answer(status, _, _) => Some(status),
            Self::CloseBeforeHeaders
            | Self::ResetBeforeHeaders
            | Self::Garbage
            | Self::StallHeaders => None,
        }
    }
}

/// More than the buffers of both ends of a connection hold, as long as nothing is read.
const BEYOND_BUFFERS: usize = 2 * 1024 * 1024;
const BODY: &str = match std::str::from_utf8(&[b'x'; 32 * 1024]) {
    Ok(body) => body,
    Err(_) => panic!(),
};

/// What the server saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) connections: u64,
    pub(crate) failed_handshakes: u64,
    pub(crate) acts: BTreeMap<Act, u64>,
    /// The heads of the first requests.
    pub(crate) heads: Vec<String>,
    pub(crate) bodies: Vec<String>,
}

/// Requests, or connections, that are enough to see what there is to see.
const ENOUGH: u64 = 8;

impl Ledger {
    /// Counts a connection; whether there are enough.
    fn connect(&mut self) -> bool {
        self.connections += 1;
        self.connections >= ENOUGH
    }

    pub(crate) fn requests(&self) -> u64 {
        self.acts.values().sum()
    }
}

/// A connection to a client.
trait Peer: AsyncRead + AsyncWrite + Send + Unpin {
    fn reset_when_dropped(&self);
}

impl Peer for TcpStream {
    fn reset_when_dropped(&self) {
        self.set_zero_linger().unwrap();
    }
}

impl Peer for TlsStream<TcpStream> {
    fn reset_when_dropped(&self) {
        self.get_ref().0.reset_when_dropped();
    }
}

type Script = dyn Fn(u64, &str) -> Act + Send + Sync;

/// A running server; ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Cancelled when the server has seen [`ENOUGH`].
    pub(crate) enough: CancellationToken,
    scheme: &'static str,
    ledger: Arc<Mutex<Ledger>>,
    _stop: DropGuard,
}

impl Server {
    /// A server that asks `script` what to do with each request: its number from 0 and its head.
    pub(crate) async fn start(script: impl Fn(u64, &str) -> Act + Send + Sync + 'static) -> Self {
        Self::start_with(None, Arc::new(script)).await
    }

    /// The same behind TLS.
    pub(crate) async fn start_secure(
        config: Arc<ServerConfig>,
        script: impl Fn(u64, &str) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(TlsAcceptor::from(config)), Arc::new(script)).await
    }

    async fn start_with(tls: Option<TlsAcceptor>, script: Arc<Script>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(4096).unwrap();
        let address = listener.local_addr().unwrap();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let (stop, enough) = (CancellationToken::new(), CancellationToken::new());
        let seen_enough = enough.clone();
        let (accepting, kept) = (stop.clone(), Arc::clone(&ledger));
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = accepting.run_until_cancelled(listener.accept()).await
            {
                if kept.lock().unwrap().connect() {
                    seen_enough.cancel();
                }
                stream.set_nodelay(true).unwrap();
                let (tls, script, kept) = (tls.clone(), Arc::clone(&script), Arc::clone(&kept));
                let enough = seen_enough.clone();
                let serving = async move {
                    match tls {
                        None => serve(stream, script, kept, enough).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, script, kept, enough).await,
                            Err(_) => kept.lock().unwrap().failed_handshakes += 1,
                        },
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

async fn serve(
    mut stream: impl Peer,
    script: Arc<Script>,
    ledger: Arc<Mutex<Ledger>>,
    enough: CancellationToken,
) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let act = {
            let mut ledger = ledger.lock().unwrap();
            let act = script(ledger.requests(), &head);
            *ledger.acts.entry(act).or_default() += 1;
            if ledger.requests() >= ENOUGH {
                enough.cancel();
            }
            if ledger.heads.len() < 100 {
                ledger.heads.push(head.clone());
                ledger.bodies.push(body.clone());
            }
            act
        };
        let stays_open = perform(act, (&head, &body), &mut stream).await;
        if !stays_open || head.to_ascii_lowercase().contains("connection: close") {
            return;
        }
    }
}

/// Whether the connection can take another request afterwards.
async fn perform(act: Act, (head, body): (&str, &str), stream: &mut impl Peer) -> bool {
    const HALF: &str = "HTTP/1.1 201 Created\r\ncontent-length: 20\r\n\r\n0123456789";
    const JSON: &str = "content-type: application/problem+json";
    match act {
        Act::Created => answer(stream, 201, JSON, "{\"id\":1}").await,
        Act::CreatedAfter(delay) => {
            tokio::time::sleep(delay).await;
            answer(stream, 201, JSON, "{\"id\":1}").await;
        }
        Act::Answer(status, header, body) => answer(stream, status, header, body).await,
        Act::Echo => {
            let path = head.split(' ').nth(1).unwrap_or_default();
            answer(stream, 201, &format!("x-path: {path}"), body).await;
        }
        Act::CloseBeforeHeaders => return false,
        Act::ResetBeforeHeaders => {
            stream.reset_when_dropped();
            return false;
        }
        Act::Garbage => {
            write(stream, "this is not HTTP\r\n\r\n").await;
            return false;
        }
        Act::StallHeaders => until_the_client_leaves(stream).await,
        Act::ResetAfterHeaders => {
            write_until_the_client_has_read(stream).await;
            stream.reset_when_dropped();
            return false;
        }
        Act::StallBody => {
            write(stream, HALF).await;
            until_the_client_leaves(stream).await;
        }
        Act::ShortBody => {
            write(stream, HALF).await;
            return false;
        }
        Act::BadChunk => {
            let head = "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n";
            write(stream, &format!("{head}5\r\nhello\r\nno number\r\n")).await;
            return false;
        }
        Act::CreatedThenClose => {
            answer(stream, 201, JSON, "{\"id\":1}").await;
            return false;
        }
    }
    true
}

async fn answer(stream: &mut impl Peer, status: u16, header: &str, body: &str) {
    let separator = if header.is_empty() { "" } else { "\r\n" };
    let length = body.len();
    write(
        stream,
        &format!(
            "HTTP/1.1 {status} x\r\n{header}{separator}content-length: {length}\r\n\r\n{body}"
        ),
    )
    .await;
}

async fn write(stream: &mut impl Peer, text: &str) {
    // A client that has left is the client's business.
    stream.write_all(text.as_bytes()).await.ok();
    stream.flush().await.ok();
}

async fn until_the_client_leaves(stream: &mut impl Peer) {
    while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
}

/// Sends half a body that is longer than all buffers on its way: the client must have read the
/// headers, which a reset would otherwise discard, before the last of it can go.
async fn write_until_the_client_has_read(stream: &mut impl Peer) {
    let length = 2 * BEYOND_BUFFERS;
    let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {length}\r\n\r\n");
    write(stream, &head).await;
    for _ in 0..BEYOND_BUFFERS / BODY.len() {
        write(stream, BODY).await;
    }
}

/// One request's head and body; `None` when the client has left.
async fn read_request(stream: &mut impl Peer) -> Option<(String, String)> {
    let mut received = Vec::new();
    let head_end = loop {
        if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        stream
            .read_buf(&mut received)
            .await
            .ok()
            .filter(|read| *read > 0)?;
    };
    let head = String::from_utf8(received[..head_end].to_vec()).unwrap();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    while received.len() < head_end + length {
        stream
            .read_buf(&mut received)
            .await
            .ok()
            .filter(|read| *read > 0)?;
    }
    let body = String::from_utf8(received[head_end..].to_vec()).unwrap();
    Some((head, body))
}
