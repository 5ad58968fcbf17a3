//! A proxy that looks at requests.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::agent::Agent;
use super::upstream;

async fn proxy(upstream: SocketAddr, more: &[&str]) -> Agent {
    let upstream = upstream.to_string();
    let words = ["proxy", "--listen", "0", "--upstream", &upstream];
    let http = ["--protocol", "http"];
    Agent::start(&[&words[..], &http, more].concat()).await
}

async fn connect(agent: &Agent) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(agent.listening[0]).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

fn request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header(header::HOST, "app")
        .body(Full::new(body.into()))
        .unwrap()
}

/// Sends requests over one connection; which of them were answered by the proxy.
async fn injected(agent: &Agent, requests: usize) -> Vec<bool> {
    let mut sender = connect(agent).await;
    let mut injected = Vec::new();
    for number in 0..requests {
        let sent = format!("body {number}");
        let answer = sender
            .send_request(request("/", sent.clone()))
            .await
            .unwrap();
        let is_injected = answer.headers().contains_key("x-holdfast-injected");
        let expected = if is_injected {
            StatusCode::IM_A_TEAPOT
        } else {
            StatusCode::OK
        };
        assert_eq!(answer.status(), expected);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(is_injected, body != sent.as_bytes());
        injected.push(is_injected);
        sender.ready().await.unwrap();
    }
    injected
}

#[tokio::test]
async fn the_same_requests_fail_for_the_same_seed() {
    let upstream = upstream::http().await;
    let with_seed = async |seed: &str| {
        let faults = ["--errors", "30%", "--status", "418", "--seed", seed];
        let agent = proxy(upstream, &faults).await;
        let injected = injected(&agent, 300).await;
        let count = injected.iter().filter(|injected| **injected).count();
        let evidence = agent.evidence().await;
        assert_eq!(evidence["requests"], 300);
        assert_eq!(evidence["errors"], count);
        assert_eq!(evidence["connections"], 1);
        (injected, count)
    };
    let (first, count) = with_seed("7").await;
    // Five standard deviations.
    assert!((50..=130).contains(&count), "{count}");
    assert_eq!(with_seed("7").await.0, first);
    assert_ne!(with_seed("8").await.0, first);
}

#[tokio::test]
async fn none_and_all_mean_none_and_all() {
    let upstream = upstream::http().await;
    for (share, expected) in [("0%", false), ("100%", true)] {
        let agent = proxy(upstream, &["--errors", share, "--status", "418"]).await;
        assert_eq!(injected(&agent, 20).await, [expected; 20]);
    }
}

#[tokio::test]
async fn each_request_is_late() {
    let agent = proxy(upstream::http().await, &["--delay", "40ms"]).await;
    let begun = Instant::now();
    assert_eq!(injected(&agent, 3).await, [false; 3]);
    assert!(begun.elapsed() >= Duration::from_millis(120));
    assert_eq!(agent.evidence().await["delayMicroseconds"], 120_000);
}

#[tokio::test]
async fn an_abort_is_a_reset_of_the_connection() {
    let agent = proxy(upstream::http().await, &["--abort", "100%"]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: app\r\n\r\n")
        .await
        .unwrap();
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(agent.evidence().await["aborts"], 1);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_within_an_answer_is_a_reset() {
    let half = upstream::serve(async |mut stream| {
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
        stream.write_all(head).await.unwrap();
        // Until the proxy has passed that on, and the client has said so.
        assert!(stream.read(&mut request).await.is_ok());
        stream.set_zero_linger().unwrap();
    });
    let agent = proxy(half.await, &[]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\n\r\nab")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"half") {
        answer.push(client.read_u8().await.unwrap());
    }
    client.write_all(b"cd").await.unwrap();
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn many_requests_share_one_h2c_connection() {
    let agent = proxy(upstream::http().await, &["--errors", "50%", "--seed", "1"]).await;
    let stream = TcpStream::connect(agent.listening[0]).await.unwrap();
    let executor = TokioExecutor::new();
    let (sender, connection) = http2::handshake(executor, TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..60 {
        let mut sender = sender.clone();
        requests.spawn(async move {
            let sent = format!("body {number}");
            let request = request("http://app/", sent.clone());
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(status == StatusCode::OK, body == sent.as_bytes());
            status
        });
    }
    let statuses = requests.join_all().await;
    let failed = statuses
        .iter()
        .filter(|status| **status == StatusCode::SERVICE_UNAVAILABLE);
    let failed = failed.count();
    assert!((1..60).contains(&failed));
    let evidence = agent.evidence().await;
    assert_eq!(evidence["requests"], 60);
    assert_eq!(evidence["errors"], failed);
    assert_eq!(evidence["connections"], 1);
}

#[tokio::test]
async fn a_huge_body_is_passed_on_without_being_kept() {
    const LENGTH: usize = 96 << 20;
    let agent = proxy(upstream::http().await, &[]).await;
    let mut sender = connect(&agent).await;
    let answer = sender
        .send_request(request("/length", vec![7; LENGTH]))
        .await
        .unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, LENGTH.to_string());
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap().trim().trim_end_matches(" kB");
    let peak: usize = peak.parse().unwrap();
    assert!(peak * 1024 < LENGTH / 2, "{peak} kB");
}

#[tokio::test]
async fn a_connection_may_become_something_else() {
    let agent = proxy(upstream::http().await, &["--delay", "1ms"]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    let request =
        "GET /upgrade HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let mut answer = [0; 5];
    for _ in 0..2 {
        client.write_all(b"hello").await.unwrap();
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
    }
}

#[tokio::test]
async fn the_connection_ends_when_its_upstream_does() {
    let once = upstream::serve(async |mut stream| {
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
    });
    let agent = proxy(once.await, &[]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    // The proxy may say that it closes the connection, if it knows soon enough.
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 2"),
        "{head}"
    );
    assert_eq!(body, "ok");
}

#[tokio::test]
async fn headers_arrive_as_they_were_sent() {
    let looking = upstream::serve(async |mut stream| {
        let mut request = vec![0; 1024];
        let length = stream.read(&mut request).await.unwrap();
        let head = b"HTTP/1.1 200 Fine\r\nX-Odd-CASE: a\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(&request[..length]).await.unwrap();
    });
    let agent = proxy(looking.await, &[]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    let request = "GET /a%20b?c HTTP/1.1\r\nHost: app\r\nX-Strange-NAME: 1\r\naccept: */*\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\nX-Odd-CASE: a\r\n"), "{answer}");
    assert!(answer.contains(request), "{answer}");
}

#[tokio::test]
async fn an_agent_that_is_asked_to_end_stops_failing_and_closes_idle_connections() {
    let faults = ["--errors", "100%", "--status", "418", "--drain", "0ms"];
    let mut agent = proxy(upstream::http().await, &faults).await;
    let mut sender = connect(&agent).await;
    let answer = sender.send_request(request("/", "a")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
    answer.into_body().collect().await.unwrap();
    agent.signal(Signal::SIGTERM);
    agent.ended().await;
    assert!(agent.exit().await.success(), "nothing was going on");
    assert!(sender.ready().await.is_err());
}
