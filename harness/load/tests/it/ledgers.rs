//! A load in which everything goes wrong, against the servers' own ledgers: each count is exact.
//!
//! Set `HOLDFAST_TRUTH_REQUESTS` to send more than the ordinary number, best in release:
//! `HOLDFAST_TRUTH_REQUESTS=1000000 cargo test --release -p holdfast-load --test it ledgers`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_core::experiment::{Connections, Request, Trust};
use holdfast_core::outcome::{Reason, Source};
use holdfast_core::template::Template;
use holdfast_load::Options;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::load::{order, plan, run_until};
use crate::server::{Act, Server};

/// Requests when nobody asks for more.
const REQUESTS: u64 = 5000;
/// The deadline of what never ends by itself; long enough for a busy machine to get that far.
const STALLED: Duration = Duration::from_millis(600);

const SHED: &str = "x-refusal-reason: shed";

/// What ends well, or with a whole answer.
const ANSWERS: [(Act, Option<Reason>); 8] = [
    (Act::Created, None),
    (Act::Answer(404, "", "no"), Some(Reason::Status4xx)),
    (Act::Answer(201, "connection: close", "bye"), None),
    (Act::Answer(429, "", ""), Some(Reason::Status429)),
    (Act::Created, None),
    (Act::Answer(503, SHED, ""), Some(Reason::Shed)),
    (Act::Answer(500, "", "oh"), Some(Reason::Status5xx)),
    (Act::Answer(204, "", ""), Some(Reason::StatusOther)),
];

/// What breaks.
const FAULTS: [(Act, Reason); 8] = [
    (Act::CloseBeforeHeaders, Reason::ResetBeforeHeaders),
    (Act::ResetBeforeHeaders, Reason::ResetBeforeHeaders),
    (Act::Garbage, Reason::ResetBeforeHeaders),
    (Act::StallHeaders, Reason::HeaderTimeout),
    (Act::ResetAfterHeaders, Reason::ResetAfterHeaders),
    (Act::StallBody, Reason::BodyStall),
    (Act::ShortBody, Reason::ShortBody),
    (Act::BadChunk, Reason::ResetAfterHeaders),
];

/// Between two faults.
const ANSWERS_BETWEEN: usize = 12;

fn request(path: &str, timeout: Duration) -> Request {
    Request {
        path: Template::fixed(path),
        timeout: Some(timeout),
        ..order()
    }
}

/// The acts are asked for by path: `/answer/3`, `/fault/0`.
fn asked_for(head: &str) -> Act {
    let path = head.split(' ').nth(1).unwrap();
    let (kind, number) = path[1..].split_once('/').unwrap();
    let number: usize = number.parse().unwrap();
    match kind {
        "answer" => ANSWERS[number].0,
        _ => FAULTS[number].0,
    }
}

/// Takes connections, says nothing, and counts them.
async fn silent() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let counted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&counted);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move { client.read_to_end(&mut Vec::new()).await });
        }
    });
    (url, counted)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_count_is_the_servers_own() {
    let asked = std::env::var("HOLDFAST_TRUTH_REQUESTS");
    let requests = asked.map_or(REQUESTS, |asked| asked.parse().unwrap());
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let server = Server::start(move |number, head| {
        if number == requests {
            stopper.cancel();
        }
        asked_for(head)
    })
    .await;
    let (silent_url, handshakes) = silent().await;
    // Bound but not listening: the port stays ours and refuses.
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refusing_url = format!("http://{}/", refusing.local_addr().unwrap());

    let answers = (0..ANSWERS.len())
        .cycle()
        .take(ANSWERS_BETWEEN)
        .map(|number| request(&format!("/answer/{number}"), Duration::from_secs(60)));
    let faults = FAULTS.iter().enumerate().map(|(number, (_, reason))| {
        // What ends by itself may take as long as a busy machine needs for it.
        let timeout = match reason {
            Reason::HeaderTimeout | Reason::BodyStall => STALLED,
            _ => Duration::from_secs(60),
        };
        request(&format!("/fault/{number}"), timeout)
    });
    let elsewhere = [refusing_url, silent_url].map(|url| request(&url, STALLED));
    let mixed = elsewhere.into_iter().chain(faults);
    let mut plan = plan(32, Duration::from_secs(3600));
    plan.journeys[0].requests = mixed.flat_map(|one| answers.clone().chain([one])).collect();
    plan.transport.connections = Connections::KeepAlive;
    plan.transport.tls = Trust::Anything;
    let told = run_until(&server.url(), &plan, Options::default(), stop).await;

    let ledger = server.ledger();
    assert!(ledger.requests() >= requests);
    let expectations = ANSWERS.into_iter();
    let expectations = expectations.chain(FAULTS.map(|(act, reason)| (act, Some(reason))));
    let expectations: BTreeMap<Act, Option<Reason>> = expectations.collect();
    let (mut expected, mut reasons, mut statuses) = (0, BTreeMap::new(), BTreeMap::new());
    for (act, seen) in &ledger.acts {
        match expectations[act] {
            None => expected += seen,
            Some(reason) => *reasons.entry(reason).or_default() += seen,
        }
        if let Some(status) = act.status() {
            *statuses.entry(status).or_default() += seen;
        }
    }
    let handshakes = handshakes.load(Ordering::Relaxed);
    reasons.insert(Reason::Tls, handshakes);
    let sent = told.sum(Source::Users, |tick| tick.sent);
    reasons.insert(
        Reason::ConnectRefused,
        sent - ledger.requests() - handshakes,
    );
    assert_eq!(told.reasons(), reasons);
    assert_eq!(told.expected(), expected);
    let mut counted: BTreeMap<u16, u64> = BTreeMap::new();
    for (status, count) in told.ticks.iter().flat_map(|tick| &tick.statuses) {
        *counted.entry(*status).or_default() += count;
    }
    assert_eq!(counted, statuses);
    assert_eq!(told.finished.cut_off[&Source::Users], 0);
    for reason in reasons.values() {
        assert!(*reason > 0, "{reasons:?}");
    }
    println!("{sent} requests: {expected} expected, {reasons:?}");
}
