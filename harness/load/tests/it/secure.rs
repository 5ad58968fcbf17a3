//! TLS: what is trusted, and what is said when it fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_core::experiment::{Connections, HttpVersion, Trust};
use holdfast_core::outcome::{Reason, Source};
use holdfast_core::plan::LoadPlan;
use holdfast_engine::{Events, LoadDriver as _};
use holdfast_load::{Options, driver};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::certificate::Certificate;
use crate::load::{Told, plan, until_enough};
use crate::server::{Act, Server};

fn brief(trust: Trust) -> LoadPlan {
    let mut plan = plan(2, Duration::from_secs(3600));
    plan.journeys[0].think_time = Duration::from_millis(20);
    plan.transport.tls = trust;
    plan
}

/// Every request failed in the handshake.
fn assert_untrusted(told: &Told, words: &str) {
    let sent = told.sum(Source::Users, |tick| tick.sent);
    assert!(sent > 0);
    assert_eq!(told.reasons(), BTreeMap::from([(Reason::Tls, sent)]));
    for failed in &told.failed {
        assert!(failed.detail.contains(words), "{}", failed.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_through_tls() {
    let certificate = Certificate::of(&["localhost", "127.0.0.1"]);
    for connections in [Connections::PerRequest, Connections::KeepAlive] {
        for trust in [
            Trust::Authorities(certificate.path().into()),
            Trust::Anything,
        ] {
            let config = certificate.server(&["http/1.1"]);
            let server = Server::start_secure(config, |_, _| Act::Created).await;
            let mut plan = brief(trust);
            plan.transport.connections = connections;
            let told = until_enough(&server.url(), &plan, &server.enough).await;
            let ledger = server.ledger();
            assert!(ledger.requests() >= 2);
            assert_eq!(told.expected(), ledger.requests());
            assert_eq!(ledger.bodies[0], "{\"item\":\"chicken\"}");
            assert_eq!(
                ledger.connections,
                match connections {
                    Connections::PerRequest => ledger.requests(),
                    // Each of the two users has its own.
                    Connections::KeepAlive => ledger.connections.min(2),
                }
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_through_tls_fail_as_others_do() {
    let certificate = Certificate::of(&["127.0.0.1"]);
    let runs: JoinSet<()> = [
        (Act::CloseBeforeHeaders, Reason::ResetBeforeHeaders),
        (Act::ResetBeforeHeaders, Reason::ResetBeforeHeaders),
        (Act::Garbage, Reason::ResetBeforeHeaders),
        (Act::StallHeaders, Reason::HeaderTimeout),
        (Act::ResetAfterHeaders, Reason::ResetAfterHeaders),
        (Act::StallBody, Reason::BodyStall),
        (Act::ShortBody, Reason::ShortBody),
        (Act::BadChunk, Reason::ResetAfterHeaders),
    ]
    .into_iter()
    .map(|(act, reason)| {
        let config = certificate.server(&[]);
        async move {
            let server = Server::start_secure(config, move |_, _| act).await;
            let mut plan = brief(Trust::Anything);
            plan.timeout = Duration::from_secs(1);
            let told = until_enough(&server.url(), &plan, &server.enough).await;
            let seen = server.ledger().requests();
            assert!(seen >= 2);
            assert_eq!(told.reasons(), BTreeMap::from([(reason, seen)]), "{act:?}");
        }
    })
    .collect();
    runs.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_server_closed_is_replaced() {
    let certificate = Certificate::of(&["127.0.0.1"]);
    let server = Server::start_secure(certificate.server(&[]), |_, _| Act::CreatedThenClose).await;
    let mut plan = brief(Trust::Anything);
    plan.transport.connections = Connections::KeepAlive;
    let told = until_enough(&server.url(), &plan, &server.enough).await;
    assert_eq!(told.reasons(), BTreeMap::new());
    assert_eq!(told.expected(), server.ledger().requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_gets_no_request() {
    let shown = Certificate::of(&["127.0.0.1"]);
    let server = Server::start_secure(shown.server(&[]), |_, _| Act::Created).await;
    let other = Certificate::of(&["127.0.0.1"]);
    let plan = brief(Trust::Authorities(other.path().into()));
    let told = until_enough(&server.url(), &plan, &server.enough).await;
    assert_untrusted(&told, "certificate");

    let misnamed = Certificate::of(&["elsewhere.test"]);
    let server = Server::start_secure(misnamed.server(&[]), |_, _| Act::Created).await;
    let plan = brief(Trust::Authorities(misnamed.path().into()));
    let told = until_enough(&server.url(), &plan, &server.enough).await;
    assert_untrusted(&told, "elsewhere.test");
    assert_eq!(server.ledger().requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_tls_is_told_apart() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    let enough = CancellationToken::new();
    let seen_enough = enough.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = plain.accept().await {
            let answer = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            answer.unwrap();
            seen_enough.cancel();
            // Closed with something unread it would be a reset, which discards the answer.
            client.read_to_end(&mut Vec::new()).await.ok();
        }
    });
    let told = until_enough(&url, &brief(Trust::Anything), &enough).await;
    assert_untrusted(&told, "corrupt message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_a_tls_failure() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let mut plan = brief(Trust::Anything);
    plan.timeout = Duration::from_millis(120);
    let enough = CancellationToken::new();
    let seen_enough = enough.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(client) = silent.accept().await {
            held.push(client);
            if held.len() == 4 {
                seen_enough.cancel();
            }
        }
    });
    let told = until_enough(&url, &plan, &enough).await;
    assert_untrusted(&told, "did not end in time");
    assert!(told.failed[0].service_time >= plan.timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_must_be_agreed_upon() {
    let certificate = Certificate::of(&["127.0.0.1"]);
    for protocols in [&["http/1.1"][..], &[]] {
        let server = Server::start_secure(certificate.server(protocols), |_, _| Act::Created).await;
        let mut plan = brief(Trust::Anything);
        plan.transport.http = HttpVersion::Http2;
        let told = until_enough(&server.url(), &plan, &server.enough).await;
        assert_untrusted(&told, "");
        assert_eq!(server.ledger().requests(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_cannot_be_read_are_told_before_the_load() {
    let refused = async |path: PathBuf| {
        let (sender, mut receiver) = unbounded_channel();
        let load = driver("https://127.0.0.1:9", Options::default()).unwrap();
        let plan = brief(Trust::Authorities(path));
        let run = load.run(&plan, Events::new(sender), CancellationToken::new());
        let error = run.await.unwrap_err().to_string();
        assert!(receiver.recv().await.is_none(), "nothing has begun");
        error
    };
    let missing = refused("/nowhere/ca.pem".into()).await;
    let expected = "the certificate authorities in /nowhere/ca.pem cannot be read";
    assert!(missing.starts_with(expected), "{missing}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = refused(empty.path().into()).await;
    assert!(empty.ends_with("has no certificate in PEM form"), "{empty}");
}
