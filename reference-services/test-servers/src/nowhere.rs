//! An address at which nobody listens.

use std::io;

use tokio::net::TcpSocket;

/// A port that is taken and not listened on, so that connections to it are refused for as long as
/// this is there.
#[derive(Debug)]
pub struct Nowhere {
    url: String,
    _socket: TcpSocket,
}

impl Nowhere {
    /// Takes a free port.
    ///
    /// # Errors
    /// When there is none.
    pub fn new() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        Ok(Self {
            url: format!("http://{}", socket.local_addr()?),
            _socket: socket,
        })
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> &str {
        &self.url
    }
}
