//! store as a process: how it starts and ends, and what remains when it is killed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use store::domain::Delivery;
use store::ports::{Deliveries, Outcome};
use test_servers::{Kind, Nowhere, Server, Service};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::doubles::{PACE, chicken, id, trail};
use crate::places::{Database, databases};

const PROGRAM: &str = env!("CARGO_BIN_EXE_store");
const WAY: [&str; 4] = [
    "OrderAccepted",
    "CookingStarted",
    "RiderAssigned",
    "OrderDelivered",
];
const PATIENCE: Duration = Duration::from_secs(30);
/// Short enough for a test, and long enough to be killed in between.
const SWIFT: [(&str, &str); 5] = [
    ("STORE_ACCEPT_TIME", "20ms"),
    ("STORE_START_TIME", "20ms"),
    ("STORE_COOKING_TIME", "20ms"),
    ("STORE_RIDER_TIME", "20ms"),
    ("STORE_POLL", "20ms"),
];

fn start(database: &Database) -> Service {
    Service::start(PROGRAM, database.settings().into_iter().chain(SWIFT))
}

/// Takes paid orders in, as another process might have done before it died.
async fn receive(database: &Database, orders: std::ops::Range<u128>) {
    let deliveries = database.open().await;
    for number in orders {
        let order_id = id(&format!("order-{number}"));
        let change = Delivery::receive(order_id, chicken(), trail(number), 0, PACE);
        let cause = change.after.trail.event;
        let outcome = deliveries.answer(cause, &change).await.unwrap();
        assert_eq!(outcome, Outcome::Done);
    }
}

async fn get(url: &str) -> Option<Value> {
    let response = reqwest::get(url).await.unwrap();
    let is_success = response.status().is_success();
    let text = response.text().await.unwrap();
    is_success.then(|| serde_json::from_str(&text).unwrap())
}

/// Completes when so many deliveries have ended well.
async fn until_delivered(service: &mut Service, count: usize) {
    let url = format!("{}/deliveries", service.url());
    loop {
        let listed = get(&url).await.unwrap_or_default();
        let listed = listed.as_array().cloned().unwrap_or_default();
        if listed
            .iter()
            .filter(|it| it["status"] == "delivered")
            .count()
            == count
        {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Each order went its way once, and each step was caused by the one before.
async fn assert_each_went_its_way(database: &Database, orders: usize) {
    let mut ways: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for told in database.told().await {
        if let Some(last) = last.insert(told.key.clone(), told.id) {
            assert_eq!(told.cause, last);
        }
        ways.entry(told.key).or_default().push(told.kind);
    }
    assert_eq!(ways.len(), orders);
    for (order_id, way) in ways {
        assert_eq!(way, WAY, "{order_id}");
    }
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let wrong = [("STORE_RIDER_TIME", "soon"), ("DB_POOL", "none")];
    let ended = Service::start(PROGRAM, wrong).ended();
    assert_eq!(ended.status.code(), Some(1));
    for (name, _) in wrong {
        assert!(ended.last_words.contains(name), "{}", ended.last_words);
    }
    assert_eq!(ended.last_words.lines().count(), 1);
}

#[tokio::test]
async fn it_serves_without_a_bus_and_leaves_nothing_when_it_is_told_to_end() {
    let mut service = Service::start(PROGRAM, []);
    let url = service.url();
    for path in ["livez", "readyz", "metrics"] {
        let response = reqwest::get(format!("{url}/{path}")).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
    let deliveries = get(&format!("{url}/deliveries")).await;
    assert_eq!(deliveries, Some(Value::Array(Vec::new())));
    service.signal("TERM");
    let ended = service.ended();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.left_behind, 0);
}

/// The next line of a log of which this is true.
async fn next(log: &mut Lines<BufReader<ChildStdout>>, is_it: impl Fn(&Value) -> bool) -> Value {
    let reading = async {
        loop {
            let line = log.next_line().await.unwrap().expect("it has ended");
            let line = serde_json::from_str(&line).unwrap();
            if is_it(&line) {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(PATIENCE, reading).await;
    line.expect("nothing of it is logged")
}

#[tokio::test]
async fn what_it_logs_about_a_delivery_has_the_orders_name_and_the_requests() {
    let nowhere = Nowhere::new().unwrap();
    let mut process = Command::new(PROGRAM)
        .env_clear()
        .env("BIND_ADDR", "127.0.0.1")
        .env("PORT", "0")
        .env("LOG_FORMAT", "json")
        .env("DATABASE_URL", nowhere.url().replace("http", "mysql"))
        .env("DB_CONNECT_TIMEOUT", "50ms")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
    let listening = next(&mut log, |line| line["fields"]["address"].is_string()).await;
    let address = listening["fields"]["address"].as_str().unwrap();
    let finding = reqwest::Client::new().get(format!("http://{address}/deliveries/order-7"));
    let refused = finding.header("x-request-id", "find").send().await.unwrap();
    assert_eq!(refused.status(), 503);
    // The kitchen logs that it cannot look for what is due, too.
    let line = next(&mut log, |line| line["span"]["causation_id"] == "find").await;
    let message = &line["fields"]["message"];
    assert_eq!(message, "the deliveries cannot be reached");
    assert_eq!(line["span"]["correlation_id"], "order-7");
}

/// Several processes on one database, one of which is killed at any moment, again and again.
#[tokio::test]
async fn each_step_is_made_once_however_many_processes_there_are_and_however_they_die() {
    for database in databases() {
        let mut survivor = start(&database);
        let rounds = 12;
        for round in 0..rounds {
            receive(&database, 20 * round..20 * (round + 1)).await;
            let victim = start(&database);
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..150))).await;
            victim.kill();
        }
        until_delivered(&mut survivor, 20 * rounds as usize).await;
        survivor.kill();
        assert_each_went_its_way(&database, 20 * rounds as usize).await;
    }
}

/// The only process is killed, and its successor goes on.
#[tokio::test]
async fn who_starts_again_goes_on_where_the_one_before_was_killed() {
    let database = Database::in_a_folder();
    receive(&database, 0..50).await;
    for _ in 0..10 {
        let service = start(&database);
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..60))).await;
        service.kill();
    }
    let mut last = start(&database);
    until_delivered(&mut last, 50).await;
    last.kill();
    assert_each_went_its_way(&database, 50).await;
}

#[tokio::test]
async fn a_database_that_is_killed_and_comes_back_loses_and_repeats_nothing() {
    let Some(mut server) = Server::start(Kind::MariaDb) else {
        return;
    };
    let database = Database::on(&server);
    receive(&database, 0..100).await;
    let mut service = start(&database);
    let url = service.url();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..60))).await;
        server.kill();
        let alive = reqwest::get(format!("{url}/readyz")).await.unwrap();
        assert_eq!(alive.status(), 200);
        server.start_again();
    }
    let mut other = start(&database);
    until_delivered(&mut other, 100).await;
    service.kill();
    other.kill();
    assert_each_went_its_way(&database, 100).await;
}
