//! The real siege and this driver against the same server: the same figures.

use std::path::Path;
use std::time::Duration;

use holdfast_core::siege::Tally;
use holdfast_load::Options;
use serde_json::Value;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::load::{plan, run_until};
use crate::server::{Act, Server};

const SIEGE: &str = "/usr/bin/siege";
/// The last one is a slow one, so that a stop during it comes before its end.
const REQUESTS: u64 = 26;
const DELAY: Duration = Duration::from_millis(100);

/// Each fifth answer is a 503, each tenth a 404, the others come after a delay.
fn mix(number: u64) -> Act {
    match number % 10 {
        4 => Act::Answer(503, "", "not now"),
        9 => Act::Answer(404, "", "not here"),
        _ => Act::CreatedAfter(DELAY),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_are_sieges_own() {
    if !Path::new(SIEGE).exists() {
        let required = std::env::var_os("HOLDFAST_REQUIRE_TOOLS").is_some_and(|it| it == "1");
        assert!(!required, "{SIEGE} is missing: apt-get install siege");
        eprintln!("skipped: {SIEGE} is missing (apt-get install siege)");
        return;
    }
    let server = Server::start(|number, _| mix(number)).await;
    let theirs = siege(&server.url()).await;
    assert_eq!(server.ledger().requests(), REQUESTS);

    let ours = ours().await;
    let count = |key: &str| theirs[key].as_u64().unwrap();
    let number = |key: &str| theirs[key].as_f64().unwrap();
    assert_eq!(ours.transactions, count("transactions"));
    assert_eq!(ours.successful, count("successful_transactions"));
    assert_eq!(ours.failed, count("failed_transactions"));
    let close = |ours: f64, key: &str, tolerance: f64| {
        let theirs = number(key);
        assert!(
            (ours - theirs).abs() <= tolerance,
            "{key}: {ours} and siege's {theirs}"
        );
    };
    close(ours.availability, "availability", 0.005);
    close(ours.data_transferred, "data_transferred", 0.005);
    // Two live runs on a machine that may be busy: the same unit and definition, not the same time.
    close(ours.response_time, "response_time", 0.2);
    close(ours.concurrency, "concurrency", 0.5);
    close(ours.shortest, "shortest_transaction", 0.2);
    assert!(ours.longest >= DELAY.as_secs_f64() && number("longest_transaction") >= 0.09);
}

/// One user's requests by siege; its summary.
async fn siege(url: &str) -> Value {
    let home = tempfile::tempdir().unwrap();
    let settings = home.path().join("siegerc");
    std::fs::write(
        &settings,
        "connection = close\nlogging = false\nparser = false\n",
    )
    .unwrap();
    let siege = Command::new(SIEGE)
        .env("HOME", home.path())
        .arg("-R")
        .arg(&settings)
        .args(["-j", "-b", "-c1", "--content-type", "application/json"])
        .arg(format!("-r{REQUESTS}"))
        .arg(format!("{url}/orders POST {{\"item\":\"chicken\"}}"))
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(30), siege).await;
    let output = output.expect("siege ends in time").unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json = &text[text
        .find('{')
        .unwrap_or_else(|| panic!("siege said {text:?}"))..];
    serde_json::from_str(json).unwrap()
}

/// The same requests by our one user.
async fn ours() -> holdfast_core::siege::Figures {
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let server = Server::start(move |number, _| {
        if number == REQUESTS - 1 {
            stopper.cancel();
        }
        mix(number)
    })
    .await;
    let plan = plan(1, Duration::from_secs(60));
    let told = run_until(&server.url(), &plan, Options::default(), stop).await;
    assert_eq!(server.ledger().requests(), REQUESTS);
    let mut tally = Tally::default();
    for tick in &told.ticks {
        tally.merge(&tick.siege);
    }
    tally.figures(told.finished.elapsed + DELAY)
}
