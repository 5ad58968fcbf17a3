//! Every way a request can end is counted under its real cause, as often as the server says.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_core::outcome::{Reason, Source};
use holdfast_load::Options;
use tokio::net::TcpListener;

use crate::load::{plan, run};
use crate::server::{Act, Server};

#[tokio::test(flavor = "multi_thread")]
async fn expected_answers_are_expected() {
    let server = Server::start(|_, _| Act::Created).await;
    let mut plan = plan(4, Duration::from_millis(1200));
    plan.think_time = Duration::from_millis(20);
    let told = run(&server.url(), &plan, Options::default()).await;
    let ledger = server.ledger();
    assert!(ledger.requests() >= 4);
    assert_eq!(told.expected(), ledger.requests());
    assert_eq!(ledger.connections, ledger.requests());
    assert_eq!(
        told.of(Source::Users).filter(|tick| !tick.draining).count(),
        2
    );
    let head = ledger.heads[0].to_ascii_lowercase();
    assert!(head.starts_with("post /orders http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {}\r\n", server.address)));
    assert!(head.contains("\r\nconnection: close\r\n"));
    assert!(head.contains("\r\ncontent-type: application/json\r\n"));
    assert_eq!(ledger.bodies[0], "{\"item\":\"chicken\"}");
}
