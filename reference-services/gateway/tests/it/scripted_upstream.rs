//! Services behind the gateway that do what the test says.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// What a scripted upstream answers with.
#[derive(Clone, Copy)]
pub(crate) enum Script {
    /// 200, with the body of the request.
    Echo,
    Answer(StatusCode),
    /// 200 once the test allows it.
    Hold,
    /// 200 and the first half of the body at once, the second once the test allows it.
    HoldHalfway,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A running scripted upstream.
#[derive(Clone)]
pub(crate) struct ScriptedUpstream {
    address: SocketAddr,
    asked: watch::Receiver<Vec<Asked>>,
    allowed: Arc<Semaphore>,
}

#[derive(Clone)]
struct Play {
    script: Script,
    asked: Arc<watch::Sender<Vec<Asked>>>,
    allowed: Arc<Semaphore>,
}

impl ScriptedUpstream {
    pub(crate) async fn start(script: Script) -> Self {
        let (asked_sender, asked) = watch::channel(Vec::new());
        let allowed = Arc::new(Semaphore::new(0));
        let play = Play {
            script,
            asked: Arc::new(asked_sender),
            allowed: Arc::clone(&allowed),
        };
        let router = Router::new().fallback(answer).with_state(play);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            asked,
            allowed,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub(crate) fn asked_so_far(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Waits until `count` requests have arrived, and returns them.
    pub(crate) async fn asked(&self, count: usize) -> Vec<Asked> {
        let mut asked = self.asked.clone();
        let asked = asked.wait_for(|asked| asked.len() >= count).await;
        asked.unwrap().clone()
    }

    /// Lets `count` held answers go on.
    pub(crate) fn allow(&self, count: usize) {
        self.allowed.add_permits(count);
    }
}

async fn answer(State(play): State<Play>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    play.asked.send_modify(|asked| {
        asked.push(Asked {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body: body.clone(),
        });
    });
    match play.script {
        Script::Echo => Response::new(Body::from(body)),
        Script::Answer(status) => Response::builder()
            .status(status)
            .header("x-from-upstream", "1")
            .body(Body::from("as scripted"))
            .unwrap(),
        Script::Hold => {
            play.allowed.acquire().await.unwrap().forget();
            Response::new(Body::from("held"))
        }
        Script::HoldHalfway => {
            let halves = futures::stream::unfold(0, move |half| {
                let allowed = Arc::clone(&play.allowed);
                async move {
                    match half {
                        0 => {}
                        1 => allowed.acquire().await.unwrap().forget(),
                        _ => return None,
                    }
                    Some((Ok::<_, std::convert::Infallible>("half "), half + 1))
                }
            });
            Response::new(Body::from_stream(halves))
        }
    }
}

/// A server that breaks the first `breaks` connections off once it has read a request's header, and
/// answers 200 afterwards. It tells how many requests it has read.
pub(crate) async fn breaking(breaks: usize) -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (read_sender, read) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = read_header(stream).await;
            read_sender.send_modify(|read| *read += 1);
            if *read_sender.borrow() > breaks {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (url, read)
}

async fn read_header(stream: TcpStream) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(stream.read_line(&mut line).await.unwrap(), 0);
    }
    stream
}
