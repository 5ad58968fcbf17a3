//! A server that does nothing but answer, on a thread of its own: what a generator manages against
//! it is what the generator manages.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use holdfast_core::experiment::Connections;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::thread;

/// Room for a request; a longer one is not answered.
const LONGEST_REQUEST: usize = 8192;

/// A running server; ends when dropped.
#[derive(Debug)]
pub(crate) struct NullServer {
    pub(crate) address: SocketAddr,
    _stop: DropGuard,
}

impl NullServer {
    /// Answers `200` to every request without a body, and ends its connections as a server would
    /// that was asked to.
    pub(crate) fn start(connections: Connections) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let live = move || async move {
            let listener = TcpListener::from_std(listener)?;
            let accepting = stopped.run_until_cancelled(accept(&listener, connections));
            accepting.await.unwrap_or(Ok(()))
        };
        // Without a server there are no answers, and who counts them notices.
        tokio::spawn(thread::run("holdfast-null", live));
        Ok(Self {
            address,
            _stop: stop.drop_guard(),
        })
    }
}

async fn accept(listener: &TcpListener, connections: Connections) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, connections));
    }
}

async fn serve(mut stream: TcpStream, connections: Connections) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let answer: &[u8] = match connections {
        Connections::KeepAlive => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        Connections::PerRequest => {
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        }
    };
    let mut request = [0; LONGEST_REQUEST];
    let mut length = 0;
    loop {
        let read = stream.read(&mut request[length..]).await?;
        if read == 0 {
            return Ok(());
        }
        length += read;
        if request[..length].ends_with(b"\r\n\r\n") {
            stream.write_all(answer).await?;
            length = 0;
            if connections == Connections::PerRequest {
                return Ok(());
            }
        }
    }
}
