//! Journeys written as Goose scenarios.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goose::goose::{GooseUser, Scenario, Transaction, TransactionResult};
use goose::transaction;
use holdfast_core::event::{Event, JourneyCount};
use holdfast_core::experiment::{Connections, Model, Stage};
use holdfast_core::outcome::{Reason, Source};
use holdfast_core::plan::LoadPlan;
use holdfast_load::scenario::session;
use holdfast_load::{DriverError, Options, Share, driver};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::load::{Told, open_plan, plan, told_by};
use crate::server::{Act, Server};

async fn play(url: &str, plan: &LoadPlan, scenarios: Vec<Scenario>) -> Told {
    play_until(url, plan, scenarios, CancellationToken::new()).await
}

async fn play_until(
    url: &str,
    plan: &LoadPlan,
    scenarios: Vec<Scenario>,
    stop: CancellationToken,
) -> Told {
    let load = driver(url, Options::default()).unwrap();
    let told = told_by(&load.with_scenarios(scenarios), plan, stop).await;
    told.check(plan, Share::default());
    told
}

fn kept(users: u32, millis: u64) -> LoadPlan {
    let mut plan = plan(users, Duration::from_millis(millis));
    plan.transport.connections = Connections::KeepAlive;
    plan
}

fn journeys(told: &Told) -> BTreeMap<String, JourneyCount> {
    let mut journeys: BTreeMap<String, JourneyCount> = BTreeMap::new();
    for (name, count) in told.ticks.iter().flat_map(|tick| &tick.journeys) {
        let whole = journeys.entry(name.clone()).or_default();
        whole.completed += count.completed;
        whole.failed += count.failed;
    }
    journeys
}

async fn login(_user: &mut GooseUser) -> TransactionResult {
    session().post("/login").send().await?;
    Ok(())
}

async fn order(_user: &mut GooseUser) -> TransactionResult {
    let order = json!({"user": session().user()});
    let placed = session().post("/orders").json(&order).expect(201).send();
    let placed = placed.await?;
    assert!(placed.failure().is_none());
    let user: Value = placed.json()?;
    let path = format!("/orders/{}", user["user"]);
    let read = session().get(&path).named("GET /orders/{id}");
    read.send().await?;
    Ok(())
}

async fn fail(_user: &mut GooseUser) -> TransactionResult {
    let answer = session().get("/fail").send().await?;
    assert_eq!(answer.failure(), Some(Reason::Status5xx));
    assert_eq!(answer.status(), Some(503));
    let refused = |_: &_| Err("not what was wanted".to_owned());
    let answer = session().get("/checked").check(refused).send().await?;
    assert_eq!(answer.failure(), Some(Reason::Check));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_measured_and_counted_as_journeys_are() {
    let server = Server::start(|_, head| {
        if head.starts_with("POST /login") {
            Act::Answer(201, "set-cookie: session=abc", "")
        } else if head.starts_with("GET /fail") {
            Act::Answer(503, "", "")
        } else {
            Act::Echo
        }
    })
    .await;
    let scenario = Scenario::new("customers")
        .register_transaction(transaction!(login).set_on_start())
        .register_transaction(transaction!(order).set_name("order").set_weight(2).unwrap())
        .register_transaction(transaction!(fail).set_name("fail"));
    let mut plan = kept(3, 400);
    plan.prober = Some(20.0);
    let told = play(&server.url(), &plan, vec![scenario]).await;
    let ledger = server.ledger();
    let sent = told.sum(Source::Users, |tick| tick.sent);
    assert_eq!(
        sent + told.sum(Source::Prober, |tick| tick.sent),
        ledger.requests()
    );
    let count = |reason| told.reasons().get(&reason).copied().unwrap_or_default();
    let (refused, checked) = (count(Reason::Status5xx), count(Reason::Check));
    assert!(refused > 0 && refused.abs_diff(checked) <= 3);
    assert_eq!(told.expected() + refused + checked, ledger.requests());
    // Three users, three connections, and one for each probe.
    let probes = told.sum(Source::Prober, |tick| tick.sent);
    assert_eq!(ledger.connections, 3 + probes);
    let failed = |request: &str| told.failed.iter().any(|failed| failed.request == request);
    assert!(failed("GET /fail") && failed("GET /checked"));
    let details: Vec<&str> = told.failed.iter().map(|f| f.detail.as_str()).collect();
    assert!(details.contains(&"not what was wanted"));

    let journeys = journeys(&told);
    assert_eq!(journeys["customers"].completed, 3);
    assert_eq!(
        (journeys["order"].failed, journeys["fail"].completed),
        (0, 0)
    );
    let (orders, fails) = (journeys["order"].completed, journeys["fail"].failed);
    // Goose deals a user's transactions like cards: two orders and one failure a round.
    assert!(orders.abs_diff(2 * fails) <= 3 * 2, "{orders} and {fails}");
    // The cookie lasts for the user's life.
    let later = ledger.heads.iter().filter(|head| head.contains("/fail"));
    assert!(later.clone().count() > 0);
    assert!(
        later
            .clone()
            .all(|head| head.contains("cookie: session=abc"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_play_within_the_stages_of_the_plan() {
    let server = Server::start(|_, _| Act::Created).await;
    let scenario = Scenario::new("orders")
        .register_transaction(transaction!(login))
        .set_wait_time(Duration::from_millis(20), Duration::from_millis(40))
        .unwrap();
    let stage = |users, millis| Stage {
        users,
        ramp: Duration::ZERO,
        duration: Duration::from_millis(millis),
    };
    // Four users, then one, then four again.
    let mut plan = kept(4, 3000);
    plan.model = Model::Users(vec![stage(4, 1000), stage(1, 1000), stage(4, 1000)]);
    let told = play(&server.url(), &plan, vec![scenario]).await;
    assert_eq!(told.expected(), server.ledger().requests());
    let sent: Vec<u64> = told
        .of(Source::Users)
        .filter(|tick| !tick.draining)
        .map(|tick| tick.sent)
        .collect();
    assert_eq!(sent.len(), 3);
    assert!(sent[0] > 2 * sent[1] && sent[2] > 2 * sent[1], "{sent:?}");
    assert!(sent[1] > 0);
    // A user that waits is at work.
    assert!((1.5..=3.2).contains(&told.finished.mean_users));
    assert!(told.finished.pause_seconds > 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_every_transaction() {
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let server = Server::start(move |number, head| {
        if number == 20 {
            stopper.cancel();
        }
        if head.starts_with("POST /login") {
            Act::Created
        } else {
            Act::StallHeaders
        }
    })
    .await;
    let hangs: goose::goose::TransactionFunction = Arc::new(|_| {
        Box::pin(async {
            session().get("/hangs").send().await?;
            Ok(())
        })
    });
    let quick = Scenario::new("quick")
        .register_transaction(transaction!(login))
        .set_wait_time(Duration::from_secs(0), Duration::from_millis(10))
        .unwrap();
    let slow = Scenario::new("slow")
        .register_transaction(transaction!(login))
        .set_wait_time(Duration::from_secs(3000), Duration::from_secs(3000))
        .unwrap();
    let hanging = Scenario::new("hanging").register_transaction(Transaction::new(hangs));
    let mut plan = kept(6, 3_600_000);
    plan.drain_limit = Duration::from_millis(200);
    let told = play_until(&server.url(), &plan, vec![quick, slow, hanging], stop).await;
    // Two users of each scenario: those that hang are cut off, those that wait just go.
    assert_eq!(told.finished.cut_off[&Source::Users], 2);
    assert!(told.finished.elapsed < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_an_error_of_the_transaction() {
    let server = Server::start(|_, _| Act::Created).await;
    let errors = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&errors);
    let bad: goose::goose::TransactionFunction = Arc::new(move |_| {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            let error = session().get("/a b").send().await.unwrap_err();
            seen.lock().unwrap().push(error.to_string());
            session().get("/").header("x", "a\nb").send().await?;
            Ok(())
        })
    });
    let scenario = Scenario::new("bad").register_transaction(Transaction::new(bad));
    let scenario = scenario
        .set_wait_time(Duration::from_millis(50), Duration::from_millis(50))
        .unwrap();
    let told = play(&server.url(), &kept(1, 200), vec![scenario]).await;
    assert_eq!(server.ledger().requests(), 0);
    assert!(errors.lock().unwrap()[0].starts_with("the path `/a b`"));
    assert!(journeys(&told)["bad"].failed > 0);
    assert!(told.events.contains(&Event::LoadStopped));
}

#[tokio::test]
async fn scenarios_need_users() {
    let scenario = Scenario::new("orders").register_transaction(transaction!(login));
    let load = driver("http://127.0.0.1:9", Options::default()).unwrap();
    let load = load.with_scenarios(vec![scenario]);
    let plan = open_plan(10.0, Duration::from_secs(1), 10);
    let refused = load.prepare(&plan).await.unwrap_err();
    assert!(
        matches!(refused, DriverError::ScenariosAtARate),
        "{refused}"
    );
}

#[tokio::test]
async fn scenarios_are_not_cut_off_after_so_many_requests() {
    let scenario = Scenario::new("orders").register_transaction(transaction!(login));
    let load = driver("http://127.0.0.1:9", Options::default()).unwrap();
    let load = load.with_scenarios(vec![scenario]);
    let mut plan = plan(1, Duration::from_secs(1));
    plan.requests_per_user = Some(3);
    let refused = load.prepare(&plan).await.unwrap_err();
    assert!(
        matches!(refused, DriverError::ScenariosWithALimit),
        "{refused}"
    );
}
