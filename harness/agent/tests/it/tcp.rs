//! A proxy that passes on connections.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::agent::{Agent, DEADLINE, in_seconds};
use super::upstream;

async fn proxy(upstream: SocketAddr, more: &[&str]) -> Agent {
    let upstream = upstream.to_string();
    let words = ["proxy", "--listen", "0", "--upstream", &upstream];
    Agent::start(&[&words[..], more].concat()).await
}

/// How a connection fails from which something is to be read. A reset may come before the client
/// knows that it is connected.
async fn failure(address: SocketAddr) -> ErrorKind {
    let read = async { TcpStream::connect(address).await?.read_u8().await };
    read.await.unwrap_err().kind()
}

/// Sends all pieces, one by one, then says that it is done.
async fn send(mut to: impl AsyncWrite + Unpin, pieces: &[Vec<u8>]) {
    for piece in pieces {
        to.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    to.shutdown().await.unwrap();
}

async fn receive(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).await.unwrap();
    all
}

/// Both sides send at once; each end is half-closed when its side is done.
async fn exchange(
    proxy: SocketAddr,
    upstream: &TcpListener,
    there: &[Vec<u8>],
    back: &[Vec<u8>],
) -> (Vec<u8>, Vec<u8>) {
    let mut client = TcpStream::connect(proxy).await.unwrap();
    let (mut server, _) = upstream.accept().await.unwrap();
    let (client_in, client_out) = client.split();
    let (server_in, server_out) = server.split();
    let (arrived_there, arrived_back, (), ()) = tokio::join!(
        receive(server_in),
        receive(client_in),
        send(client_out, there),
        send(server_out, back),
    );
    (arrived_there, arrived_back)
}

#[test]
fn whatever_is_sent_arrives_whole_and_in_order() {
    let runtime = Runtime::new().unwrap();
    let pieces = || {
        let piece = prop::collection::vec(any::<u8>(), 0..40_000);
        prop::collection::vec(piece, 0..6)
    };
    for faults in [
        &[][..],
        &["--delay", "4ms", "--jitter", "4ms"],
        &["--bandwidth", "2M"],
    ] {
        let upstream = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let agent = runtime.block_on(proxy(upstream.local_addr().unwrap(), faults));
        let config = Config::with_cases(24);
        TestRunner::new(config)
            .run(&(pieces(), pieces()), |(there, back)| {
                let exchanged = exchange(agent.listening[0], &upstream, &there, &back);
                let exchanged = async { timeout(DEADLINE, exchanged).await.unwrap() };
                let (arrived_there, arrived_back) = runtime.block_on(exchanged);
                prop_assert!(arrived_there == there.concat(), "{faults:?}");
                prop_assert!(arrived_back == back.concat(), "{faults:?}");
                Ok(())
            })
            .unwrap();
    }
}

#[tokio::test]
async fn what_the_upstream_sends_is_late_and_nothing_else_is() {
    let agent = proxy(upstream::echo().await, &["--delay", "50ms"]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    let begun = Instant::now();
    for _ in 0..3 {
        client.write_all(b"question").await.unwrap();
        client.read_exact(&mut [0; 8]).await.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(150));
    let evidence = agent.evidence().await;
    assert_eq!(evidence["delayed"], 3);
    assert_eq!(evidence["delayMicroseconds"], 150_000);
}

#[tokio::test]
async fn a_delay_holds_up_each_byte_but_not_those_behind_it() {
    // Were each piece to wait for the one before, this would take longer than anybody waits.
    let agent = proxy(upstream::echo().await, &["--delay", "1s"]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    let (receive, mut send) = client.split();
    let pieces: Vec<Vec<u8>> = (0..200_u8).map(|number| vec![number; 20_000]).collect();
    let sending = async {
        for piece in &pieces {
            send.write_all(piece).await.unwrap();
        }
        send.shutdown().await.unwrap();
    };
    let (arrived, ()) = timeout(DEADLINE, async {
        tokio::join!(self::receive(receive), sending)
    })
    .await
    .unwrap();
    assert!(arrived == pieces.concat());
}

#[tokio::test]
async fn a_bandwidth_is_not_exceeded() {
    let agent = proxy(upstream::echo().await, &["--bandwidth", "200k"]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    let (receive, send) = client.split();
    let sent = vec![vec![7; 100_000]];
    let begun = Instant::now();
    let (arrived, ()) = tokio::join!(self::receive(receive), self::send(send, &sent));
    assert_eq!(arrived.len(), 100_000);
    // All but the last step of 10,000 bytes had to be waited for.
    assert!(begun.elapsed() >= Duration::from_millis(450));
}

#[tokio::test]
async fn an_abort_is_a_reset_of_chosen_connections() {
    let upstream = upstream::echo().await;
    let mut fates = Vec::new();
    for _ in 0..2 {
        let agent = proxy(upstream, &["--abort", "50%", "--seed", "3"]).await;
        let mut aborted = Vec::new();
        for _ in 0..40 {
            // A reset may come before the client knows that it is connected.
            let asked = async {
                let mut client = TcpStream::connect(agent.listening[0]).await?;
                client.write_all(b"?").await?;
                client.read_u8().await
            };
            aborted.push(match asked.await {
                Ok(answer) => {
                    assert_eq!(answer, b'?');
                    false
                }
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
                        "{error}"
                    );
                    true
                }
            });
        }
        let count = aborted.iter().filter(|aborted| **aborted).count();
        assert!((1..40).contains(&count));
        assert_eq!(agent.evidence().await["aborts"], count);
        fates.push(aborted);
    }
    assert_eq!(fates[0], fates[1], "the same seed, the same connections");
}

#[tokio::test]
async fn an_upstream_that_refuses_or_breaks_off_is_a_reset() {
    let agent = proxy(upstream::closed().await, &[]).await;
    assert_eq!(
        failure(agent.listening[0]).await,
        ErrorKind::ConnectionReset
    );
    assert_eq!(agent.evidence().await["unreachable"], 1);

    let breaking = upstream::serve(async |stream| stream.set_zero_linger().unwrap());
    let agent = proxy(breaking.await, &[]).await;
    assert_eq!(
        failure(agent.listening[0]).await,
        ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn a_black_hole_answers_nothing_until_it_is_over() {
    let mut agent = proxy(upstream::echo().await, &["--blackhole"]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    client.write_all(b"question").await.unwrap();
    // A client that has given up is not kept.
    let gone = TcpStream::connect(agent.listening[0]).await.unwrap();
    drop(gone);
    agent.until_evidence(|evidence| evidence["held"] == 2).await;
    let answer = timeout(Duration::from_millis(100), client.read_u8()).await;
    assert!(answer.is_err(), "{answer:?}");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended().await["active"], false);
    let mut answer = [0; 8];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"question", "as after a network that came back");
    drop(client);
    assert!(agent.exit().await.success());
}

#[tokio::test]
async fn it_lets_everything_pass_after_its_time() {
    let upstream = upstream::echo().await.to_string();
    let words = [
        "proxy",
        "--listen",
        "0",
        "--upstream",
        &upstream,
        "--blackhole",
    ];
    let mut agent = Agent::until(&in_seconds(2), &words).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    client.write_all(b"question").await.unwrap();
    let mut answer = [0; 8];
    timeout(DEADLINE, client.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(agent.ended().await["active"], false);
    // It is still in the way, so it has to go on.
    let mut later = TcpStream::connect(agent.listening[0]).await.unwrap();
    later.write_all(b"question").await.unwrap();
    later.read_exact(&mut answer).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_asked_to_end_waits_for_its_connections() {
    let mut agent = proxy(upstream::echo().await, &["--drain", "0ms"]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.read_exact(&mut [0; 8]).await.unwrap();
    agent.signal(Signal::SIGTERM);
    agent.ended().await;
    let refused = super::agent::until(async || TcpStream::connect(agent.listening[0]).await.err());
    assert_eq!(refused.await.kind(), ErrorKind::ConnectionRefused);
    client.write_all(b"question").await.unwrap();
    client.read_exact(&mut [0; 8]).await.unwrap();
    drop(client);
    assert!(agent.exit().await.success());
}

#[tokio::test]
async fn each_port_has_its_upstream() {
    let (first, second) = (upstream::echo().await, upstream::closed().await);
    let agent = proxy(first, &["--listen", "0", "--upstream", &second.to_string()]).await;
    let mut client = TcpStream::connect(agent.listening[0]).await.unwrap();
    client.write_all(b"?").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'?');
    assert_eq!(
        failure(agent.listening[1]).await,
        ErrorKind::ConnectionReset
    );
}
