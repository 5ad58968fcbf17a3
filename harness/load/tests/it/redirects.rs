//! Redirects are followed as far as they are, and each of them is accounted for.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::experiment::{Connections, Redirects, Request};
use holdfast_core::outcome::{Reason, Source};
use holdfast_core::plan::LoadPlan;
use holdfast_core::siege::Tally;
use holdfast_core::template::Template;

use crate::load::{Told, order, plan, until_enough};
use crate::server::{Act, Server};

fn following(request: Request) -> LoadPlan {
    let mut plan = plan(1, Duration::from_secs(3600));
    plan.journeys[0].think_time = Duration::from_millis(20);
    plan.journeys[0].requests = vec![request];
    plan.transport.redirects = Redirects::Follow;
    plan.transport.connections = Connections::KeepAlive;
    plan
}

fn get() -> Request {
    Request {
        method: "GET".to_owned(),
        body: None,
        headers: BTreeMap::new(),
        ..order()
    }
}

fn tally(told: &Told) -> Tally {
    let mut tally = Tally::default();
    for tick in &told.ticks {
        tally.merge(&tick.siege);
    }
    tally
}

/// The request lines that the server saw first.
fn lines(server: &Server, count: usize) -> Vec<String> {
    let heads = server.ledger().heads;
    let lines = heads.iter().filter_map(|head| head.lines().next());
    lines.take(count).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_redirect_has_its_method() {
    for (status, method) in [
        (301, "GET"),
        (302, "GET"),
        (303, "GET"),
        (307, "POST"),
        (308, "POST"),
    ] {
        let server = Server::start(move |_, head| {
            if head.contains("/orders ") {
                Act::Answer(status, "location: new/place?x=1#part", "moved")
            } else {
                Act::Created
            }
        })
        .await;
        let url = format!("{}/api", server.url());
        let told = until_enough(&url, &following(order()), &server.enough).await;
        let ledger = server.ledger();
        assert_eq!(told.reasons(), BTreeMap::new());
        assert_eq!(2 * told.expected(), ledger.requests());
        assert_eq!(
            ledger.connections, 1,
            "the same origin has the same connection"
        );
        let second = format!("{method} /api/new/place?x=1 HTTP/1.1");
        assert_eq!(lines(&server, 2), ["POST /api/orders HTTP/1.1", &second]);
        let has_type = ledger.heads[1].contains("content-type: application/json");
        assert_eq!(has_type, method == "POST");
        let body = if method == "POST" {
            &*ledger.bodies[0]
        } else {
            ""
        };
        assert_eq!(ledger.bodies[1], body);
        // Each is a transaction by siege's rules, and has its bytes.
        let tally = tally(&told);
        assert_eq!(tally.hits, ledger.requests());
        assert_eq!(
            tally.bytes,
            told.expected() * ("moved".len() + "{\"id\":1}".len()) as u64
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_gets_no_secrets() {
    let there = Server::start(|_, _| Act::Created).await;
    let location: &'static str = format!("location: {}/there", there.url()).leak();
    let here = Server::start(move |_, _| Act::Answer(307, location, "")).await;
    let mut request = order();
    for name in ["authorization", "cookie", "x-other"] {
        request
            .headers
            .insert(name.to_owned(), Template::fixed("a"));
    }
    let told = until_enough(&here.url(), &following(request), &here.enough).await;
    assert_eq!(told.reasons(), BTreeMap::new());
    let (here, there) = (here.ledger(), there.ledger());
    assert_eq!(
        (told.expected(), there.requests()),
        (here.requests(), here.requests())
    );
    assert_eq!(
        (here.connections, there.connections),
        (1, 1),
        "both are kept"
    );
    assert!(here.heads[0].contains("\r\nauthorization: a\r\ncontent-type"));
    assert!(!there.heads[0].contains("authorization") && !there.heads[0].contains("cookie"));
    assert!(there.heads[0].contains("\r\nx-other: a\r\n"));
    assert_eq!(there.bodies[0], here.bodies[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_lead_nowhere() {
    for location in [
        "location: ftp://127.0.0.1/",
        "location: http://",
        "location: http://a b/",
    ] {
        let server = Server::start(move |_, _| Act::Answer(302, location, "")).await;
        let told = until_enough(&server.url(), &following(get()), &server.enough).await;
        let seen = server.ledger().requests();
        assert_eq!(
            told.reasons(),
            BTreeMap::from([(Reason::Redirect, seen)]),
            "{location}"
        );
        assert!(
            told.failed[0].detail.contains("leads nowhere"),
            "{:?}",
            told.failed[0]
        );
        assert_eq!(told.failed[0].status, Some(302));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_without_end_are_given_up() {
    let server = Server::start(|_, _| Act::Answer(302, "location: /orders", "")).await;
    let told = until_enough(&server.url(), &following(get()), &server.enough).await;
    let failures = told.sum(Source::Users, |tick| tick.unexpected_total());
    assert_eq!(
        told.reasons(),
        BTreeMap::from([(Reason::Redirect, failures)])
    );
    assert_eq!(server.ledger().requests(), 11 * failures);
    assert_eq!(told.failed[0].detail, "more than 10 redirects in a row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_whose_target_fails_fails_like_the_target() {
    let server = Server::start(|_, head| {
        if head.contains(" /orders ") {
            Act::Answer(302, "location: /hang", "moved")
        } else {
            Act::StallHeaders
        }
    })
    .await;
    let mut plan = following(get());
    plan.timeout = Duration::from_millis(120);
    let told = until_enough(&server.url(), &plan, &server.enough).await;
    let failures = told.sum(Source::Users, |tick| tick.unexpected_total());
    assert_eq!(
        told.reasons(),
        BTreeMap::from([(Reason::HeaderTimeout, failures)])
    );
    assert_eq!(told.failed[0].status, None);
    let tally = tally(&told);
    assert_eq!(
        (tally.hits, tally.successful, tally.failed),
        (0, failures, failures)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_redirect_to_follow_is_an_answer() {
    for act in [
        Act::Answer(302, "", "no location"),
        Act::Answer(300, "location: /a", "a choice"),
        Act::Answer(201, "location: /a", "a new thing"),
    ] {
        let server = Server::start(move |_, _| act).await;
        let mut request = get();
        request.expect = vec![201, 300, 302];
        let told = until_enough(&server.url(), &following(request), &server.enough).await;
        assert_eq!(told.expected(), server.ledger().requests());
    }
}
