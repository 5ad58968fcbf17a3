//! The way to the API server for one who must lose it, or may not do everything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy,
    copy_bidirectional, sink,
};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

use crate::standing::Standing;

/// Passes connections on to the API server. Dropped, it breaks off those there are, and new ones are
/// refused, as of a server that is gone.
pub(crate) struct Relay {
    _runtime: Runtime,
}

/// Whether a request may be made, by its method and its target.
type Permit = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

impl Relay {
    pub(crate) fn start(standing: &Standing) -> Self {
        Self::listen(standing, |mut client, mut server| async move {
            // Either side may break off at any time.
            drop(copy_bidirectional(&mut client, &mut server).await);
        })
    }

    /// Lets only those requests pass that are permitted, as an API server that asks an authorizer.
    pub(crate) fn permitting(
        standing: &Standing,
        permit: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let permit: Permit = Arc::new(permit);
        Self::listen(standing, move |client, server| {
            pass_permitted(client, server, Arc::clone(&permit))
        })
    }

    fn listen<Passing>(
        standing: &Standing,
        pass: impl Fn(TcpStream, TcpStream) -> Passing + Send + 'static,
    ) -> Self
    where
        Passing: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (from, to) = (address(standing, 2), address(standing, 1));
        let listener = runtime.block_on(TcpListener::bind(from)).unwrap();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(to).await {
                    tokio::spawn(pass(client, server));
                }
            }
        });
        Self { _runtime: runtime }
    }

    /// A kubeconfig that leads through it.
    pub(crate) fn kubeconfig(standing: &Standing) -> PathBuf {
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

async fn pass_permitted(client: TcpStream, server: TcpStream, permit: Permit) {
    let (requests, answers) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answers = Arc::new(Mutex::new(answers));
    // Either side may break off at any time.
    let (asked, answered) = tokio::join!(
        ask(requests, to_server, Arc::clone(&answers), permit),
        answer(from_server, answers),
    );
    drop((asked, answered));
}

/// Passes requests on, one after the other, and refuses those that are not permitted.
async fn ask(
    client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    answers: Arc<Mutex<OwnedWriteHalf>>,
    permit: Permit,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if client.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.map_or(0, |(_, length)| length.parse().unwrap());
        let mut body = (&mut client).take(length);
        let (method, rest) = head.split_once(' ').unwrap();
        let (target, _) = rest.split_once(' ').unwrap();
        if permit(method, target) {
            server.write_all(head.as_bytes()).await?;
            copy(&mut body, &mut server).await?;
        } else {
            copy(&mut body, &mut sink()).await?;
            answers.lock().await.write_all(refusal().as_bytes()).await?;
        }
    }
}

async fn answer(
    mut server: OwnedReadHalf,
    answers: Arc<Mutex<OwnedWriteHalf>>,
) -> std::io::Result<()> {
    let mut part = vec![0; 16 * 1024];
    loop {
        let length = server.read(&mut part).await?;
        if length == 0 {
            return answers.lock().await.shutdown().await;
        }
        answers.lock().await.write_all(&part[..length]).await?;
    }
}

/// As an API server words it.
fn refusal() -> String {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the test does not permit it", "reason": "Forbidden", "code": 403,
    });
    let body = status.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
