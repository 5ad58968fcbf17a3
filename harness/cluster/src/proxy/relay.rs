//! One proxied connection.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

/// Joins a client to a backend until both directions are closed. What a client would see without a
/// proxy it sees here too: a backend that cannot be reached, or breaks off, is a reset and never a
/// clean end.
pub(super) async fn relay(mut client: TcpStream, backend: Option<SocketAddr>) {
    let Some(backend) = backend else {
        reset(&client);
        return;
    };
    let mut backend = match TcpStream::connect(backend).await {
        Ok(backend) => backend,
        Err(error) => {
            tracing::debug!(%backend, %error, "backend not reached");
            reset(&client);
            return;
        }
    };
    for stream in [&client, &backend] {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    }
    if let Err(error) = copy_bidirectional(&mut client, &mut backend).await {
        tracing::debug!(%error, "connection broken off");
        reset(&client);
        reset(&backend);
    }
}

/// Lets the connection end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection ends without a reset");
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn client_of(backend: Option<SocketAddr>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            relay(client, backend).await;
        });
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn a_backend_that_refuses_is_a_reset() {
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let mut client = client_of(Some(closed)).await;
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_half_closed_connection_still_answers() {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = client_of(Some(backend.local_addr().unwrap())).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut server, _) = backend.accept().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        server.write_all(b"answer to ").await.unwrap();
        server.write_all(question.as_bytes()).await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer to question");
    }

    #[tokio::test]
    async fn a_backend_that_breaks_off_is_a_reset() {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = client_of(Some(backend.local_addr().unwrap())).await;
        let (server, _) = backend.accept().await.unwrap();
        reset(&server);
        drop(server);
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
