//! The way to the API server for one who must lose it.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::standing::Standing;

/// Passes connections on to the API server. Dropped, it breaks off those there are, and new ones are
/// refused, as of a server that is gone.
pub(super) struct Relay {
    _runtime: Runtime,
}

impl Relay {
    pub(super) fn start(standing: &Standing) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (from, to) = (address(standing, 2), address(standing, 1));
        let listener = runtime.block_on(TcpListener::bind(from)).unwrap();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, to));
            }
        });
        Self { _runtime: runtime }
    }

    /// A kubeconfig that leads through it.
    pub(super) fn kubeconfig(standing: &Standing) -> PathBuf {
        let text = std::fs::read_to_string(standing.file("config")).unwrap();
        let [from, to] = [1, 2].map(|last| address(standing, last).to_string());
        assert!(text.contains(&from), "{text}");
        let file = standing.file("relayed");
        std::fs::write(&file, text.replace(&from, &to)).unwrap();
        file
    }
}

/// The cluster's own network has addresses to spare.
fn address(standing: &Standing, last: u8) -> SocketAddr {
    format!("{}0.{last}:6443", standing.network())
        .parse()
        .unwrap()
}

async fn pass_on(mut client: TcpStream, to: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(to).await else {
        return;
    };
    // Either side may break off at any time.
    drop(copy_bidirectional(&mut client, &mut server).await);
}
