//! What a proxy stands in front of.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Has each connection served, at the address that is returned.
pub(crate) async fn serve<F>(connection: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream));
        }
    });
    address
}

/// Sends back what it gets.
pub(crate) async fn echo() -> SocketAddr {
    serve(async |mut stream| {
        let (mut receive, mut send) = stream.split();
        drop(tokio::io::copy(&mut receive, &mut send).await);
        drop(send.shutdown().await);
    })
    .await
}

/// An address at which nobody listens.
pub(crate) async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// HTTP/1 and h2c: `/length` answers how long the body was, `/upgrade` echoes from then on, anything
/// else sends the body back.
pub(crate) async fn http() -> SocketAddr {
    serve(async |stream| {
        let builder = auto::Builder::new(TokioExecutor::new());
        let service = service_fn(answer);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        drop(connection.await);
    })
    .await
}

type Body = BoxBody<Bytes, hyper::Error>;

fn text(text: String) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed()
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let answer = match path.as_str() {
        "/length" => {
            let mut length = 0;
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                length += frame.unwrap().data_ref().map_or(0, Bytes::len);
            }
            Response::new(text(length.to_string()))
        }
        "/upgrade" => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgraded.await.unwrap());
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..length]).await.unwrap();
                }
            });
            let mut response = Response::new(text(String::new()));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, "upgrade".parse().unwrap());
            headers.insert(header::UPGRADE, "echo".parse().unwrap());
            response
        }
        _ => Response::new(request.into_body().boxed()),
    };
    Ok(answer)
}
