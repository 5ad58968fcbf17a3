//! A connection that nobody serves.

use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Keeps a connection open without reading from it, until it is over: then all that was sent
/// meanwhile is still to be read, as after a network that came back. `None` if its client left.
pub(super) async fn hold(client: TcpStream, over: &CancellationToken) -> Option<TcpStream> {
    tokio::select! {
        () = over.cancelled() => {}
        () = left(&client) => return None,
    }
    // Registered anew, it hears of what arrived while nobody was listening.
    let client = client.into_std().ok()?;
    TcpStream::from_std(client).ok()
}

async fn left(client: &TcpStream) {
    loop {
        match client.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => {}
            Ok(_) | Err(_) => return,
        }
        // Nothing is read, so the socket stays readable: wait for the next change instead.
        let nothing = client.try_io(Interest::READABLE, || {
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        drop(nothing);
    }
}
