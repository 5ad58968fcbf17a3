//! Questions over HTTP, and the answers that count.

use holdfast_core::experiment::Address;
use holdfast_engine::HttpClient;
use holdfast_faults::Http;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers one connection after the other with these words, and gives its base URL.
async fn serve(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = connection.read(&mut request).await.unwrap();
            let line = String::from_utf8_lossy(&request[..length]);
            let asked = line.lines().next().unwrap_or_default().to_owned();
            let answer = answer.replace("ASKED", &asked);
            // A client that has gone away needs no answer.
            drop(connection.write_all(answer.as_bytes()).await);
        }
    });
    base
}

fn client(base: &str) -> Http {
    let base = base.to_owned();
    let addresses = move |name: &str| match name {
        "auditor" => Ok(base.clone()),
        other => Err(format!("service {other} has no address")),
    };
    Http::new(Box::new(addresses)).unwrap()
}

fn service(name: &str) -> Address {
    Address::Service {
        name: name.to_owned(),
        path: "/invariants?all".to_owned(),
    }
}

#[tokio::test]
async fn a_service_is_asked_at_its_address_and_a_url_as_it_is() {
    let base = serve("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nASKED".to_owned()).await;
    let client = client(&base);
    let answer = client.get(&service("auditor")).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, b"GET /invariants?all HTTP/1.1");
    let url = Address::Url(format!("{base}/health"));
    let answer = client.get(&url).await.unwrap();
    assert_eq!(answer.body, b"GET /health HTTP/1.1");
    let error = client.get(&service("nobody")).await.unwrap_err();
    assert_eq!(error.0, "service nobody has no address");
}

#[tokio::test]
async fn a_redirect_and_an_error_are_answers() {
    for status in [302, 500] {
        let answer =
            format!("HTTP/1.1 {status} x\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
        let base = serve(answer).await;
        let answer = client(&base).get(&service("auditor")).await.unwrap();
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn who_does_not_listen_or_does_not_stop_talking_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&nobody).get(&service("auditor")).await.unwrap_err();
    assert!(error.0.contains("refused"), "{error}");

    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat((1 << 20) + 1));
    let base = serve(endless).await;
    let error = client(&base).get(&service("auditor")).await.unwrap_err();
    assert!(error.0.contains("more than 1048576 bytes"), "{error}");
}
