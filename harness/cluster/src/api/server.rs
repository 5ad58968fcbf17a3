//! Serving the API on a socket: connections which nobody can keep open, or the
//! cluster alive, by being slow to send a request or to read the answer.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a client may take for the head of a request, the wait for it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may read nothing of an answer that waits for it: long enough
/// for somebody who pages through a log, and for a watch to be told to begin anew.
const STALL_TIMEOUT: Duration = Duration::from_mins(5);
/// How much of requests and answers is kept for a connection, in bytes. A request
/// head must fit into it; a part of an answer may be larger.
const BUFFER_SIZE: usize = 64 * 1024;
/// How long answers may take to be read when the server ends.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How long to wait when there are no file descriptors for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, and returns when every connection is closed.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection to the API server keeps its delay");
                }
                connections.spawn(serve_connection(stream, router.clone(), shutdown.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "the API server cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Send,
    router: Router,
    shutdown: CancellationToken,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALL_TIMEOUT));
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_SIZE)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let last = tokio::time::timeout(LAST_ANSWERS, connection).await;
            last.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API server broke");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::api::tests::api;
    use crate::store::{Resource, Store};

    /// More than any timeout here.
    const LONG: Duration = Duration::from_secs(3600);

    /// A connection to an API, between which little is under way.
    fn connection(store: &Store) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = duplex(1024);
        let router = api(store).authorized_router();
        let serving = tokio::spawn(serve_connection(server, router, CancellationToken::new()));
        (client, serving)
    }

    async fn ended(serving: JoinHandle<()>) {
        tokio::time::timeout(LONG, serving).await.unwrap().unwrap();
    }

    async fn rest(client: &mut DuplexStream) -> String {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Sends a text a byte at a time, until nobody is there to read it.
    async fn trickle(client: &mut DuplexStream, text: &str, pause: Duration) {
        for byte in text.bytes() {
            if client.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_ends_a_request_head_is_cut_off() {
        let start = Instant::now();
        let (mut client, serving) = connection(&Store::new());
        let head = format!("GET /version HTTP/1.1\r\nHost: {}", "x".repeat(1000));
        trickle(&mut client, &head, Duration::from_secs(1)).await;
        ended(serving).await;
        assert!(start.elapsed() < HEAD_TIMEOUT + Duration::from_secs(2));
        assert_eq!(rest(&mut client).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_ends_a_body_is_told_so_and_cut_off() {
        let (mut client, serving) = connection(&Store::new());
        let head = "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        trickle(&mut client, &"{".repeat(100), Duration::from_secs(1)).await;
        ended(serving).await;
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(status["kind"], "Status");
    }

    /// Neither a watch nor a list waits for ever for somebody to read it.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut_off() {
        let store = Store::new();
        let map = |name: &str| json!({"metadata": {"name": name, "namespace": "default"}, "data": {"k": "v".repeat(9999)}});
        store.create(Resource::ConfigMaps, map("a")).unwrap();
        for query in ["", "?watch=1"] {
            let start = Instant::now();
            let (mut client, serving) = connection(&store);
            let head = format!("GET /api/v1/configmaps{query} HTTP/1.1\r\nHost: x\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            ended(serving).await;
            assert!(
                start.elapsed() < STALL_TIMEOUT + Duration::from_secs(1),
                "{query}"
            );
            assert_eq!(store.holdings().watches, 0, "{query}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_not_cut_off() {
        let store = Store::new();
        let (mut client, serving) = connection(&store);
        let head = "GET /api/v1/configmaps?watch=1&timeoutSeconds=3600 HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        for number in 0..10 {
            let name = format!("map-{number}");
            let metadata = json!({"name": name, "namespace": "default"});
            let map = json!({"metadata": metadata, "data": {"k": "v".repeat(999)}});
            store.create(Resource::ConfigMaps, map).unwrap();
            let mut answer = vec![0; 200];
            client.read_exact(&mut answer).await.unwrap();
            sleep(STALL_TIMEOUT - Duration::from_secs(1)).await;
        }
        assert_eq!(store.holdings().watches, 1);
        drop(client);
        ended(serving).await;
        assert_eq!(store.holdings().watches, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_head_of_any_length_is_not_kept() {
        let (mut client, serving) = connection(&Store::new());
        let head = format!(
            "GET /version?{} HTTP/1.1\r\n\r\n",
            "x".repeat(2 * BUFFER_SIZE)
        );
        // The server may be gone before the end of it.
        drop(client.write_all(head.as_bytes()).await);
        ended(serving).await;
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}
