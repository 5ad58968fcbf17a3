//! What the generator knows of its own strength, before the load.

use std::time::Duration;

use holdfast_core::experiment::{Connections, Transport};
use holdfast_engine::{Events, LoadDriver as _};
use holdfast_load::{DriverError, Options, calibrate, driver};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use crate::load::{open_plan, run};
use crate::server::{Act, Server};

fn kept_alive() -> Transport {
    Transport {
        connections: Connections::KeepAlive,
        ..Transport::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generator_is_measured_with_either_kind_of_connection() {
    let kept = calibrate(&kept_alive()).await.unwrap();
    let fresh = calibrate(&Transport::default()).await.unwrap();
    for calibration in [kept, fresh] {
        assert!(calibration.requests_per_second > 100.0, "{calibration:?}");
        let cost = calibration.cpu_seconds_per_request;
        assert!(cost > 0.0 && cost < 0.01, "{calibration:?}");
        assert!(calibration.p50 <= calibration.p99);
    }
    // A connection costs more than a request.
    assert!(fresh.cpu_seconds_per_request > kept.cpu_seconds_per_request);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_beyond_it_is_refused_before_the_first_request() {
    let server = Server::start(|_, _| Act::Created).await;
    let plan = open_plan(5e6, Duration::from_secs(1), 10);
    let load = driver(&server.url(), Options::default()).unwrap();
    let refused = load.prepare(&plan).await.unwrap_err();
    let DriverError::TooFast { asked, calibrated } = refused else {
        panic!("{refused}");
    };
    assert_eq!(asked, 5e6);
    assert!((100.0..5e6).contains(&calibrated), "{calibrated}");
    let words = "5000000 requests per second are asked for";
    assert!(refused.to_string().starts_with(words), "{refused}");
    let (sender, _receiver) = unbounded_channel();
    let stop = CancellationToken::new();
    let run = load.run(&plan, Events::new(sender), stop).await;
    assert!(run.unwrap_err().to_string().starts_with(words));
    assert_eq!(server.ledger().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_within_it_is_recorded_with_the_run() {
    let server = Server::start(|_, _| Act::Created).await;
    let easy = open_plan(100.0, Duration::from_millis(100), 10);
    let told = run(&server.url(), &easy, Options::default()).await;
    assert_eq!(told.finished.calibrated_rate, None);
    let mut plan = open_plan(1001.0, Duration::from_millis(100), 100);
    plan.transport = kept_alive();
    let told = run(&server.url(), &plan, Options::default()).await;
    assert!(told.finished.calibrated_rate.unwrap() >= 1001.0);
}
