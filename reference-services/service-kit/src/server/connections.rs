//! Connections from clients: accepted one by one, each served by a task of its own, none kept for
//! ever by a client that sends its request, or takes its answer, too slowly.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// More than any header of ours, and little enough that many connections do not fill the memory.
const BUFFER_LIMIT: usize = 64 * 1024;

/// How long to wait for clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the connection's beginning, or the request before, to the end of a request's header.
    pub(super) header: Duration,
    /// While a client takes nothing of its answer.
    pub(super) standstill: Duration,
}

/// What is spoken on a connection. Which one is known beforehand: by the port.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    Http1,
    /// HTTP/2 without TLS, which gRPC needs.
    Http2,
}

/// Serves every connection until `stop`, and then only until each has had the answers to the requests
/// it is at. A request carries the address of its client as [`ConnectInfo`].
pub(super) async fn serve(
    mut listener: TcpListener,
    protocol: Protocol,
    router: Router,
    patience: Patience,
    stop: CancellationToken,
) {
    let connections = GracefulShutdown::new();
    loop {
        let (stream, client) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => break,
        };
        // Small answers must not wait for the peer's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(patience.standstill));
        let router = router.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(client));
            router.clone().oneshot(request)
        });
        match protocol {
            Protocol::Http1 => {
                let connection = http1_settings(patience)
                    .serve_connection(TokioIo::new(Box::pin(stream)), answer);
                tokio::spawn(until_its_end(client, connections.watch(connection)));
            }
            Protocol::Http2 => {
                // A client that is there answers pings; so one that sends nothing is gone.
                stream.set_read_timeout(Some(patience.header + patience.standstill));
                let connection = http2_settings(patience)
                    .serve_connection(TokioIo::new(Box::pin(stream)), answer);
                tokio::spawn(until_its_end(client, connections.watch(connection)));
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

fn http1_settings(patience: Patience) -> http1::Builder {
    let mut settings = http1::Builder::new();
    settings
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_buf_size(BUFFER_LIMIT);
    settings
}

fn http2_settings(patience: Patience) -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .keep_alive_interval(patience.header)
        .keep_alive_timeout(patience.standstill);
    settings
}

async fn until_its_end(
    client: SocketAddr,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) {
    if let Err(error) = connection.await {
        tracing::debug!(%client, %error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use axum::body::{Body, Bytes};
    use axum::routing::{get, post};
    use futures::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(50);

    async fn connect(router: Router, patience: Patience) -> TcpStream {
        connect_with(Protocol::Http1, router, patience).await
    }

    async fn connect_with(protocol: Protocol, router: Router, patience: Patience) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, protocol, router, patience, stop));
        TcpStream::connect(address).await.unwrap()
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_header_that_does_not_end_ends_the_connection() {
        let router = Router::new().route("/", get(|| async { "here" }));
        let patience = Patience {
            header: SHORT,
            standstill: LONG,
        };
        for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\nx-slow: 1"] {
            let mut stream = connect(router.clone(), patience).await;
            stream.write_all(begun.as_bytes()).await.unwrap();
            assert_eq!(rest(&mut stream).await, "");
        }
        let mut stream = connect(router, patience).await;
        let whole = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT";
        stream.write_all(whole).await.unwrap();
        let answers = rest(&mut stream).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1, "{answers}");
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_over_http_2_is_left() {
        let patience = Patience {
            header: SHORT,
            standstill: SHORT,
        };
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let settings = "\0\0\0\u{4}\0\0\0\0\0";
        for begun in ["", "PRI * HTT", &format!("{preface}{settings}")] {
            let router = Router::new();
            let mut stream = connect_with(Protocol::Http2, router, patience).await;
            stream.write_all(begun.as_bytes()).await.unwrap();
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_answered() {
        let router = Router::new()
            .route("/", post(|body: Bytes| async { body }))
            .layer(axum::middleware::from_fn_with_state(
                SHORT,
                super::super::slow_body::refuse,
            ));
        let patience = Patience {
            header: LONG,
            standstill: LONG,
        };
        for (framing, part) in [
            ("content-length: 9", "12345678"),
            ("transfer-encoding: chunked", "8\r\n12345678\r\n"),
        ] {
            let mut stream = connect(router.clone(), patience).await;
            let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{part}");
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = rest(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_its_answer_is_left() {
        let place = Arc::new(Semaphore::new(1));
        let taken = Arc::clone(&place);
        let endless = get(|| async move {
            let permit = taken.acquire_owned().await.unwrap();
            Body::from_stream(stream::repeat_with(move || {
                assert_eq!(permit.num_permits(), 1, "held until the body is dropped");
                Ok::<_, Infallible>(Bytes::from_static(&[0; 1024]))
            }))
        });
        let patience = Patience {
            header: LONG,
            standstill: SHORT,
        };
        let mut stream = connect(Router::new().route("/", endless), patience).await;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream.read_u8().await.unwrap();
        drop(place.acquire().await.unwrap());
    }
}
