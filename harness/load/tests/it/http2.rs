//! HTTP/2, by prior knowledge and by ALPN.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::experiment::{Connections, HttpVersion, Trust};
use holdfast_core::outcome::Reason;
use holdfast_core::plan::LoadPlan;
use tokio::task::JoinSet;

use crate::certificate::Certificate;
use crate::http2_server::{Act, CREATED, Server};
use crate::load::{Told, plan, until_enough};
use crate::server;

fn brief(connections: Connections) -> LoadPlan {
    let mut plan = plan(2, Duration::from_secs(3600));
    plan.journeys[0].think_time = Duration::from_millis(20);
    plan.timeout = Duration::from_secs(1);
    plan.transport.http = HttpVersion::Http2;
    plan.transport.tls = Trust::Anything;
    plan.transport.connections = connections;
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_over_http2() {
    let certificate = Certificate::of(&["127.0.0.1"]);
    for connections in [Connections::PerRequest, Connections::KeepAlive] {
        for tls in [None, Some(certificate.server(&["h2"]))] {
            let scheme = if tls.is_some() { "https" } else { "http" };
            let server = Server::start(tls, |_| CREATED).await;
            let told = until_enough(&server.url(), &brief(connections), &server.enough).await;
            let ledger = server.ledger();
            assert!(ledger.requests() >= 2);
            assert_eq!(told.expected(), ledger.requests());
            assert_eq!(
                ledger.connections,
                match connections {
                    Connections::PerRequest => ledger.requests(),
                    // Each of the two users has its own.
                    Connections::KeepAlive => ledger.connections.min(2),
                }
            );
            let (method, uri, headers) = &ledger.heads[0];
            assert_eq!((method.as_str(), uri.scheme_str()), ("POST", Some(scheme)));
            assert_eq!(uri.to_string(), format!("{}/orders", server.url()));
            assert_eq!(headers["content-type"], "application/json");
            assert!(!headers.contains_key("host") && !headers.contains_key("connection"));
            assert_eq!(ledger.bodies[0], b"{\"item\":\"chicken\"}");
        }
    }
}

/// Every request that the server saw has ended for `reason`.
async fn assert_reason(act: Act, reason: Reason) -> Told {
    let server = Server::start(None, move |_| act).await;
    let told = until_enough(
        &server.url(),
        &brief(Connections::KeepAlive),
        &server.enough,
    )
    .await;
    let seen = server.ledger().requests();
    assert!(seen >= 2);
    assert_eq!(told.reasons(), BTreeMap::from([(reason, seen)]), "{act:?}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_has_its_reason() {
    let runs: JoinSet<Told> = [
        (Act::ResetBeforeHeaders, Reason::ResetBeforeHeaders),
        (Act::Refuse, Reason::ResetBeforeHeaders),
        (Act::CloseBeforeHeaders, Reason::ResetBeforeHeaders),
        (Act::StallHeaders, Reason::HeaderTimeout),
        (Act::ResetAfterHeaders, Reason::ResetAfterHeaders),
        (Act::StallBody, Reason::BodyStall),
        (Act::ShortBody, Reason::ShortBody),
        (Act::CloseInBody, Reason::ShortBody),
        (Act::Answer(404, ("x-a", "b"), ""), Reason::Status4xx),
        (
            Act::Answer(503, ("x-refusal-reason", "shed"), ""),
            Reason::Shed,
        ),
    ]
    .into_iter()
    .map(|(act, reason)| assert_reason(act, reason))
    .collect();
    runs.join_all().await;
    let title = ("content-type", "application/problem+json");
    let act = Act::Answer(503, title, "{\"title\":\"payment is busy\"}");
    let told = assert_reason(act, Reason::Status5xx).await;
    assert_eq!(told.failed[0].detail, "payment is busy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_its_way_out_loses_no_request() {
    let server = Server::start(None, |_| Act::CreatedThenGoAway).await;
    let told = until_enough(
        &server.url(),
        &brief(Connections::KeepAlive),
        &server.enough,
    )
    .await;
    let ledger = server.ledger();
    assert_eq!(told.reasons(), BTreeMap::new());
    assert_eq!(told.expected(), ledger.requests());
    assert_eq!(ledger.connections, ledger.requests());

    // What it refuses on a kept connection goes out on a new one.
    let server = Server::start(None, |number| {
        if number % 5 == 4 {
            Act::Refuse
        } else {
            CREATED
        }
    });
    let server = server.await;
    let mut plan = brief(Connections::KeepAlive);
    plan.model = crate::load::plan(1, plan.duration).model;
    let told = until_enough(&server.url(), &plan, &server.enough).await;
    let ledger = server.ledger();
    assert_eq!(told.reasons(), BTreeMap::new());
    assert_eq!(told.expected(), ledger.acts[&CREATED]);
    assert_eq!(ledger.connections, 1 + ledger.acts[&Act::Refuse]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_http2_is_told_apart() {
    let server = server::Server::start(|_, _| server::Act::Garbage).await;
    let told = until_enough(
        &server.url(),
        &brief(Connections::PerRequest),
        &server.enough,
    )
    .await;
    let reasons: Vec<_> = told.reasons().into_keys().collect();
    assert_eq!(reasons, [Reason::ResetBeforeHeaders]);
}
