//! The address of a pod that is gone: packets to it are lost.
//!
//! On a real cluster the address ends with the pod's network sandbox. Whoever still sends there
//! waits for an answer, until nobody knows the address any longer. Here the same is had from a
//! listener whose queue is full: the kernel drops every further attempt to connect.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Longer than any client should go on trying; afterwards connections are refused.
const LOST_FOR: Duration = Duration::from_secs(60);

/// A port at which attempts to connect get no answer.
#[derive(Debug)]
struct Hole {
    _listener: TcpListener,
    /// Fills the listener's queue.
    _only: TcpStream,
}

impl Hole {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // The pod's own connections may linger at its port.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(0)?;
        let only = TcpStream::connect(address).await?;
        Ok(Self {
            _listener: listener,
            _only: only,
        })
    }
}

/// Loses what is sent to `ports` of `address` for a while, at the longest until `ending`.
pub(super) async fn lose_packets(address: Ipv4Addr, ports: Vec<u16>, ending: CancellationToken) {
    let mut holes = Vec::new();
    for port in ports {
        match Hole::open(SocketAddr::from((address, port))).await {
            Ok(hole) => holes.push(hole),
            Err(error) => {
                tracing::debug!(%address, port, %error, "connections to a vacated address are refused");
            }
        }
    }
    if holes.is_empty() {
        return;
    }
    tokio::select! {
        () = sleep(LOST_FOR) => {}
        () = ending.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn nobody_answers_until_the_end() {
        let free = TcpListener::bind("127.99.7.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let ending = CancellationToken::new();
        let losing = tokio::spawn(lose_packets(
            Ipv4Addr::new(127, 99, 7, 1),
            vec![address.port()],
            ending.clone(),
        ));
        // The one who fills the queue is let in; from then on an attempt lasts.
        let unanswered = async {
            loop {
                let attempt = TcpStream::connect(address);
                match tokio::time::timeout(Duration::from_millis(100), attempt).await {
                    Err(_elapsed) => return,
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), unanswered)
            .await
            .unwrap();
        ending.cancel();
        losing.await.unwrap();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}
