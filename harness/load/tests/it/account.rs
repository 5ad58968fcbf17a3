//! The account of a load is complete however the load goes and ends.
//! (What must hold in every run is checked by `load::run` itself.)

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdfast_core::experiment::{Connections, Model, Spacing, Stage};
use holdfast_core::outcome::Source;
use holdfast_core::plan::LoadPlan;
use holdfast_load::{Connector, Endpoint, Options};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio_util::sync::CancellationToken;

use crate::load::{open_plan, order, plan, run, run_until};
use crate::server::{Act, Server};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_at_the_end_drains() {
    let answer_after = Duration::from_millis(700);
    let server = Server::start(move |_, _| Act::CreatedAfter(answer_after)).await;
    let told = run(
        &server.url(),
        &plan(5, Duration::from_secs(1)),
        Options::default(),
    )
    .await;
    assert_eq!(told.finished.cut_off[&Source::Users], 0);
    assert_eq!(told.expected(), server.ledger().requests());
    let drained = told.of(Source::Users).filter(|tick| tick.draining);
    assert_eq!(drained.map(|tick| tick.expected).sum::<u64>(), 5);
    let elapsed = told.finished.elapsed;
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
    assert!((2.5..=5.0).contains(&told.finished.mean_users));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_drain_in_time_is_cut_off() {
    let server = Server::start(|number, _| match number {
        0..3 => Act::StallHeaders,
        _ => Act::Created,
    })
    .await;
    let mut plan = plan(5, Duration::from_millis(300));
    plan.journeys[0].think_time = Duration::from_millis(20);
    plan.drain_limit = Duration::from_millis(200);
    let told = run(&server.url(), &plan, Options::default()).await;
    assert_eq!(told.finished.cut_off[&Source::Users], 3);
    assert_eq!(told.expected(), server.ledger().requests() - 3);
    // Three of the five hang to the end.
    assert!((2.0..=5.0).contains(&told.finished.mean_users));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_load_ends_at_once_and_is_classified() {
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let server = Server::start(move |number, _| {
        if number == 20 {
            stopper.cancel();
        }
        Act::CreatedAfter(Duration::from_millis(50))
    })
    .await;
    let mut plan = plan(5, Duration::from_secs(3600));
    plan.journeys[0].think_time = Duration::from_millis(10);
    plan.prober = Some(20.0);
    let told = run_until(&server.url(), &plan, Options::default(), stop).await;
    let seen = server.ledger().requests();
    assert!((20..100).contains(&seen), "{seen} requests");
    assert_eq!(told.expected(), seen);
    assert!(told.finished.elapsed < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_cancelled_before_it_begins_is_an_empty_account() {
    let stop = CancellationToken::new();
    stop.cancel();
    let server = Server::start(|_, _| Act::Created).await;
    let mut plan = plan(3, Duration::from_secs(3600));
    plan.prober = Some(10.0);
    let told = run_until(&server.url(), &plan, Options::default(), stop).await;
    // Users may have sent their first request before the stop reaches them.
    assert!(server.ledger().requests() <= 4);
    assert_eq!(told.expected(), server.ledger().requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_pause_between_requests() {
    let server = Server::start(|_, _| Act::Created).await;
    let mut plan = plan(2, Duration::from_secs(1));
    plan.journeys[0].think_time = Duration::from_millis(200);
    let told = run(&server.url(), &plan, Options::default()).await;
    // At most one request at once and then one after each pause.
    assert!((2..=10).contains(&told.expected()), "{}", told.expected());
    // A user in a pause is at work: the requests alone would be hundredths.
    assert!((1.0..=2.0).contains(&told.finished.mean_users));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_and_go_on_a_ramp() {
    // Every request is held to the end, so each active user shows as one request in flight.
    let server = Server::start(|_, _| Act::StallHeaders).await;
    let mut plan = plan(8, Duration::from_secs(4));
    plan.model = Model::Users(vec![Stage {
        users: 8,
        ramp: Duration::from_secs(4),
        duration: Duration::from_secs(4),
    }]);
    plan.drain_limit = Duration::ZERO;
    let told = run(&server.url(), &plan, Options::default()).await;
    let in_flight: Vec<u64> = told
        .of(Source::Users)
        .filter(|tick| !tick.draining)
        .map(|tick| tick.in_flight)
        .collect();
    // The next user is due at each whole second; a busy machine may be late with users or ticks.
    for (second, users) in in_flight.iter().enumerate() {
        let planned = 2 * (second as u64 + 1);
        assert!(
            (planned.saturating_sub(2)..=planned + 2).contains(users),
            "{in_flight:?}"
        );
    }
    assert_eq!(told.finished.cut_off[&Source::Users], 8);
    assert!((2.5..=5.5).contains(&told.finished.mean_users));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_beyond_the_next_stage_leave() {
    let server = Server::start(|_, _| Act::CreatedAfter(Duration::from_millis(20))).await;
    let mut plan = plan(6, Duration::from_secs(2));
    let second = |users| Stage {
        users,
        ramp: Duration::ZERO,
        duration: Duration::from_secs(1),
    };
    plan.model = Model::Users(vec![second(6), second(1)]);
    let told = run(&server.url(), &plan, Options::default()).await;
    assert_eq!(told.expected(), server.ledger().requests());
    assert!(
        (2.0..=5.0).contains(&told.finished.mean_users),
        "{}",
        told.finished.mean_users
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prober_keeps_its_rate_whatever_the_answers() {
    // Users and probes alike hang; the users send once, the prober goes on.
    let server = Server::start(|_, _| Act::StallHeaders).await;
    let mut plan = plan(1, Duration::from_secs(3));
    plan.prober = Some(25.0);
    let told = run(&server.url(), &plan, Options::default()).await;
    let probes = |figure: fn(&_) -> u64| told.sum(Source::Prober, figure);
    assert_eq!(probes(|tick| tick.scheduled), 75);
    assert_eq!(told.sum(Source::Users, |tick| tick.sent), 1);
    // Its deadline is its own: the first probes have failed before the load ends.
    let failed_before_the_end = told
        .of(Source::Prober)
        .filter(|tick| !tick.draining)
        .map(|tick| tick.unexpected_total())
        .sum::<u64>();
    assert!(failed_before_the_end >= 10, "{failed_before_the_end}");
    let probe = told
        .failed
        .iter()
        .find(|failed| failed.source == Source::Prober);
    assert!(probe.unwrap().service_time >= Duration::from_secs(2));
}

/// Holds up the thread that sends when it opens its tenth connection.
#[derive(Debug, Default)]
struct Stall(AtomicU32);

impl Connector for Stall {
    fn endpoint(&self, address: SocketAddr) -> Option<Endpoint> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 10 {
            std::thread::sleep(Duration::from_millis(2500));
        }
        Some(Endpoint {
            address,
            name: None,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_generator_owns_up() {
    let server = Server::start(|_, _| Act::StallHeaders).await;
    let mut plan = plan(1, Duration::from_secs(3));
    plan.prober = Some(100.0);
    let options = Options {
        connector: Some(Arc::new(Stall::default())),
        ..Options::default()
    };
    let told = run(&server.url(), &plan, options).await;
    // 250 probes were due during the stall, more than may be in flight; none of them is hidden.
    assert_eq!(told.sum(Source::Prober, |tick| tick.scheduled), 300);
    let dropped = told.sum(Source::Prober, |tick| tick.dropped);
    assert!((10..250).contains(&dropped), "{dropped} dropped");
    assert!(told.finished.saturated_seconds.contains(&1));
    let stall = Duration::from_millis(2400);
    assert!(told.finished.lag.count() >= 250);
    assert!(told.finished.lag.max().unwrap() >= stall);
    assert!(told.finished.send_lag.max().unwrap() >= stall);
}

/// Small loads with every mixture of models, journeys, answers, endings and settings.
#[test]
fn the_account_balances_in_random_runs() {
    let acts = prop::sample::select(vec![
        Act::Created,
        Act::CreatedAfter(Duration::from_millis(30)),
        Act::Answer(503, "x-refusal-reason: shed", ""),
        Act::ResetBeforeHeaders,
        Act::CloseBeforeHeaders,
        Act::StallHeaders,
        Act::StallBody,
        Act::ShortBody,
        Act::CreatedThenClose,
    ]);
    let open = (20.0..400.0, prop::bool::ANY);
    let settings = (
        // Users, or places for the arrivals of an open model.
        (1..6_u32, prop::option::of(open)),
        (1..4_usize, 100..500_u64),
        (0..40_u64, 0..200_u64, 0..150_u64),
        prop::option::of(5.0..60.0),
        prop::bool::ANY,
    );
    let runs = (
        prop::collection::vec(acts, 1..6),
        settings.prop_map(random_plan),
        prop::option::of(1..20_u64),
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config {
        cases: 12,
        failure_persistence: None,
        ..Config::default()
    };
    let balances = |(acts, plan, stop_at): (Vec<Act>, LoadPlan, Option<u64>)| {
        runtime.block_on(async {
            let stop = CancellationToken::new();
            let stopper = stop.clone();
            let server = Server::start(move |number, _| {
                if stop_at == Some(number) {
                    stopper.cancel();
                }
                acts[number as usize % acts.len()]
            })
            .await;
            run_until(&server.url(), &plan, Options::default(), stop).await;
        });
        Ok(())
    };
    TestRunner::new(config).run(&runs, balances).unwrap();
}

type Settings = (
    (u32, Option<(f64, bool)>),
    (usize, u64),
    (u64, u64, u64),
    Option<f64>,
    bool,
);

fn random_plan((model, size, times, prober, keeps): Settings) -> LoadPlan {
    let ((senders, open), (requests, millis)) = (model, size);
    let (think, drain, timeout) = times;
    let duration = Duration::from_millis(millis);
    let mut plan = match open {
        None => plan(senders, duration),
        Some((rate, _)) => open_plan(rate, duration, senders),
    };
    if let (Model::Arrivals(arrivals), Some((_, true))) = (&mut plan.model, open) {
        arrivals.spacing = Spacing::Poisson;
    }
    plan.journeys[0].requests = vec![order(); requests];
    plan.journeys[0].think_time = Duration::from_millis(think);
    plan.drain_limit = Duration::from_millis(drain);
    plan.timeout = Duration::from_millis(timeout);
    plan.prober = prober;
    plan.transport.connections = if keeps {
        Connections::KeepAlive
    } else {
        Connections::PerRequest
    };
    plan
}
