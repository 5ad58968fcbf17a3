//! The open model: every arrival is sent when it is due, or told to be dropped.

use std::time::Duration;

use holdfast_core::experiment::{Connections, Model, RateStage, Spacing};
use holdfast_core::outcome::Source;
use holdfast_load::{Options, Share};
use tokio_util::sync::CancellationToken;

use crate::load::{Told, open_plan, order, plan, run, run_until};
use crate::server::{Act, Server};

fn scheduled(told: &Told) -> u64 {
    told.sum(Source::Users, |tick| tick.scheduled)
}

fn dropped(told: &Told) -> u64 {
    told.sum(Source::Users, |tick| tick.dropped)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_arrival_is_sent_whatever_the_answers() {
    let server = Server::start(|number, _| match number % 4 {
        0 => Act::CreatedAfter(Duration::from_millis(300)),
        1 => Act::ResetBeforeHeaders,
        _ => Act::Created,
    })
    .await;
    let plan = open_plan(200.0, Duration::from_secs(1), 200);
    let told = run(&server.url(), &plan, Options::default()).await;
    assert_eq!((scheduled(&told), dropped(&told)), (200, 0));
    assert_eq!(server.ledger().requests(), 200);
    assert_eq!(told.finished.send_lag.count(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn arrivals_without_a_place_are_dropped_and_told() {
    let server = Server::start(|_, _| Act::StallHeaders).await;
    let mut plan = open_plan(100.0, Duration::from_secs(1), 5);
    plan.drain_limit = Duration::ZERO;
    let told = run(&server.url(), &plan, Options::default()).await;
    assert_eq!((scheduled(&told), dropped(&told)), (100, 95));
    assert_eq!(server.ledger().requests(), 5);
    assert_eq!(told.finished.cut_off[&Source::Users], 5);
    assert!((4.0..=5.0).contains(&told.finished.mean_users));
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_made_until_there_are_as_many_as_may_be() {
    let server = Server::start(|_, _| Act::StallHeaders).await;
    let mut plan = open_plan(600.0, Duration::from_secs(1), 300);
    plan.drain_limit = Duration::ZERO;
    let told = run(&server.url(), &plan, Options::default()).await;
    assert_eq!((scheduled(&told), dropped(&told)), (600, 300));
    assert_eq!(told.finished.cut_off[&Source::Users], 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_arrival_begins_a_whole_journey() {
    let server = Server::start(|_, _| Act::Created).await;
    let mut plan = open_plan(50.0, Duration::from_secs(1), 50);
    plan.journeys[0].requests = vec![order(), order(), order()];
    plan.journeys[0].think_time = Duration::from_millis(1);
    let told = run(&server.url(), &plan, Options::default()).await;
    let journeys = told.of(Source::Users).flat_map(|tick| &tick.journeys);
    let completed: u64 = journeys.map(|(_, count)| count.completed).sum();
    // The last ones may be on their way when the load stops.
    assert!((40..=50).contains(&completed), "{completed} journeys");
    let sent = server.ledger().requests();
    assert!((3 * completed..=150).contains(&sent), "{sent} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_ramps_and_pauses_are_kept() {
    let server = Server::start(|_, _| Act::Created).await;
    let mut plan = open_plan(0.0, Duration::from_secs(4), 100);
    let Model::Arrivals(arrivals) = &mut plan.model else {
        unreachable!("it is an open plan");
    };
    let second = Duration::from_secs(1);
    let stage = |rate, ramp| RateStage {
        rate,
        ramp,
        duration: second,
    };
    arrivals.stages = vec![
        stage(100.0, Duration::ZERO),
        stage(0.0, Duration::ZERO),
        stage(40.0, second),
        stage(200.0, Duration::ZERO),
    ];
    let told = run(&server.url(), &plan, Options::default()).await;
    assert_eq!(scheduled(&told), 100 + 20 + 200);
    let sent: Vec<u64> = told.of(Source::Users).map(|tick| tick.sent).collect();
    // 100, 0, 20 and 200 but for what a busy machine carries over into the next second.
    assert!(sent[1] < sent[0] / 2, "{sent:?}");
    assert!(sent[2] < sent[3] / 2, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_no_arrival_unaccounted() {
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let server = Server::start(move |number, _| {
        if number == 50 {
            stopper.cancel();
        }
        Act::CreatedAfter(Duration::from_millis(20))
    })
    .await;
    let plan = open_plan(200.0, Duration::from_secs(3600), 20);
    let told = run_until(&server.url(), &plan, Options::default(), stop).await;
    let due = told.finished.elapsed.as_secs_f64() * 200.0;
    let counted = scheduled(&told) as f64;
    assert!((counted - due).abs() <= 2.0, "{counted} of {due}");
    assert_eq!(told.expected(), server.ledger().requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn few_places_are_used_where_few_are_needed() {
    let server = Server::start(|_, _| Act::Created).await;
    let mut plan = open_plan(50.0, Duration::from_secs(1), 500);
    plan.transport.connections = Connections::KeepAlive;
    let told = run(&server.url(), &plan, Options::default()).await;
    assert_eq!(told.expected(), 50);
    let connections = server.ledger().connections;
    assert!(connections <= 25, "{connections} connections");
}

/// What three processes with a third each would send.
#[tokio::test(flavor = "multi_thread")]
async fn shares_add_up_to_the_whole_load() {
    let server = Server::start(|_, _| Act::Created).await;
    let url = server.url();
    let share = |index| Options {
        share: Share { index, count: 3 },
        ..Options::default()
    };
    let mut open = open_plan(100.0, Duration::from_secs(1), 30);
    open.prober = Some(10.0);
    if let Model::Arrivals(arrivals) = &mut open.model {
        arrivals.spacing = Spacing::Poisson;
    }
    let whole = scheduled(&run(&url, &open, Options::default()).await);
    let mut parts = 0;
    for index in 0..3 {
        let told = run(&url, &open, share(index)).await;
        assert_eq!(told.finished.workers[0].index, index);
        let probes = told.sum(Source::Prober, |tick| tick.scheduled);
        assert_eq!(probes, if index == 0 { 10 } else { 0 });
        parts += scheduled(&told);
    }
    assert_eq!(parts, whole);

    let mut users = plan(5, Duration::from_millis(200));
    users.journeys[0].think_time = Duration::from_secs(1);
    let mut sent = Vec::new();
    for index in 0..3 {
        sent.push(scheduled(&run(&url, &users, share(index)).await));
    }
    // Each user sends once and pauses to the end.
    assert_eq!(sent, [2, 2, 1]);
    let one = plan(1, Duration::from_millis(200));
    assert_eq!(scheduled(&run(&url, &one, share(2)).await), 0);
}
