//! app as a process: how it starts, and how it ends without losing an order.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use app::adapters::sql::SCHEMAS;
use app::config::Config;
use app::domain::OrderId;
use axum::http::StatusCode;
use serde_json::{Value, json};
use service_kit::database::{Database, query};
use service_kit::env::Env;
use sqlx::Row as _;
use tempfile::TempDir;
use test_servers::{Collector, Nowhere, SpanKind, ToldSpan};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::scripted_pay::{Script, ScriptedPay};

const PATIENCE: Duration = Duration::from_secs(30);

struct App {
    process: Child,
    url: String,
    /// What it says until its end.
    says: JoinHandle<Vec<Value>>,
    /// Where it makes its temporary database; what a killed process leaves goes with it.
    temporary: TempDir,
}

impl App {
    async fn start<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut process = command(&temporary)
            .envs(env)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let url = loop {
            let line = log.next_line().await.unwrap().expect("app never listened");
            let line: Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = line["fields"]["address"].as_str() {
                break format!("http://{address}");
            }
            said.push(line);
        };
        Self {
            process,
            url,
            says: tokio::spawn(all(said, log)),
            temporary,
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    async fn exit(self) -> ExitStatus {
        self.exit_and_read().await.0
    }

    /// Returns what it said, too.
    async fn exit_and_read(mut self) -> (ExitStatus, Vec<Value>) {
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        let left_behind = self.temporary.path().read_dir().unwrap().count();
        assert_eq!(left_behind, 0, "a temporary database was left behind");
        (status.unwrap().unwrap(), self.says.await.unwrap())
    }
}

/// What was `said`, and all that follows in the log. The pipe must be read to its end, or the next line
/// would stop the process.
async fn all(mut said: Vec<Value>, mut log: Lines<BufReader<ChildStdout>>) -> Vec<Value> {
    while let Ok(Some(line)) = log.next_line().await {
        said.push(serde_json::from_str(&line).unwrap());
    }
    said
}

fn command(temporary: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_app"));
    command
        .env_clear()
        .env("BIND_ADDR", "127.0.0.1")
        .env("PORT", "0")
        .env("LOG_FORMAT", "json")
        .env("TMPDIR", temporary.path())
        .kill_on_drop(true);
    command
}

/// A client that makes a new connection for each request, so that it sees whether one is accepted.
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

async fn status(url: &str) -> Option<StatusCode> {
    Some(client().get(url).send().await.ok()?.status())
}

async fn until_status(url: &str, expected: Option<StatusCode>) {
    let reached = async {
        while status(url).await != expected {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
}

#[tokio::test]
async fn a_terminated_app_finishes_its_orders_and_exits_with_zero() {
    for signal in ["TERM", "INT"] {
        let pay = ScriptedPay::start(Script::Hold).await;
        let app = App::start([("PAY_URL", pay.url().as_str()), ("PAY_TIMEOUT", "0")]).await;
        let url = format!("{}/orders", app.url);
        let order = client().post(&url).json(&json!({"item": "chicken"})).send();
        let order = tokio::spawn(order);
        pay.asked(1).await;

        app.signal(signal);
        until_status(&url, None).await;
        pay.allow(1);
        assert_eq!(order.await.unwrap().unwrap().status(), StatusCode::CREATED);
        assert_eq!(app.exit().await.code(), Some(0));
    }
}

#[tokio::test]
async fn readiness_fails_first_while_requests_are_still_served() {
    let app = App::start([("DRAIN_DELAY", "100s")]).await;
    let ready = format!("{}/readyz", app.url);
    assert_eq!(status(&ready).await, Some(StatusCode::OK));
    app.signal("TERM");
    until_status(&ready, Some(StatusCode::SERVICE_UNAVAILABLE)).await;
    for path in ["livez", "orders"] {
        let url = format!("{}/{path}", app.url);
        assert_eq!(status(&url).await, Some(StatusCode::OK));
    }
}

#[tokio::test]
async fn an_order_that_outlasts_the_drain_limit_is_not_waited_for() {
    let pay = ScriptedPay::start(Script::Hold).await;
    let app = App::start([
        ("PAY_URL", pay.url().as_str()),
        ("PAY_TIMEOUT", "0"),
        ("DRAIN_LIMIT", "50ms"),
    ])
    .await;
    let url = format!("{}/orders", app.url);
    let order = tokio::spawn(client().post(&url).json(&json!({"item": "chicken"})).send());
    pay.asked(1).await;
    app.signal("TERM");
    assert_eq!(app.exit().await.code(), Some(1));
    assert!(order.await.unwrap().is_err());
}

#[tokio::test]
async fn paths_and_methods_that_are_not_served_are_problems_and_bodies_have_a_limit() {
    let app = App::start([]).await;
    let get = |path: &str| client().get(format!("{}{path}", app.url)).send();
    let nothing = get("/nothing").await.unwrap();
    assert_eq!(nothing.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        nothing.headers()["content-type"],
        "application/problem+json"
    );

    let orders = format!("{}/orders", app.url);
    let deleted = client().delete(&orders).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        deleted.headers()["content-type"],
        "application/problem+json"
    );

    let huge = json!({"item": "chicken", "address": "x".repeat(20_000)});
    let refused = client().post(&orders).json(&huge).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_is_not_served_is_counted_and_tells_of_the_circuit_like_everything_else() {
    let app = App::start([]).await;
    let url = |path: &str| format!("{}{path}", app.url);
    let nothing = client().get(url("/nothing")).send().await.unwrap();
    let deleted = client().delete(url("/orders")).send().await.unwrap();
    let listed = client().get(url("/orders")).send().await.unwrap();
    for answer in [nothing, deleted, listed] {
        let circuit = answer.headers().get("x-circuit").unwrap();
        assert!(circuit.to_str().unwrap().starts_with("closed;"));
    }
    let metrics = client().get(url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for series in [
        "http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
        "http_requests_total{method=\"DELETE\",route=\"/orders\",status=\"405\"} 1",
        "http_requests_total{method=\"GET\",route=\"/orders\",status=\"200\"} 1",
    ] {
        let is_there = metrics.lines().any(|line| line == series);
        assert!(is_there, "no {series} in\n{metrics}");
    }
}

#[tokio::test]
async fn an_order_whose_app_was_killed_is_abandoned_by_the_next() {
    let pay = ScriptedPay::start(Script::Hold).await;
    let data = tempfile::tempdir().unwrap();
    let data_dir = data.path().to_str().unwrap();
    let url = pay.url();
    let env = [
        ("PAY_URL", url.as_str()),
        ("DATA_DIR", data_dir),
        ("ORDER_INTENT_LIMIT", "10ms"),
    ];
    let first = App::start([("PAY_TIMEOUT", "0")].into_iter().chain(env)).await;
    let orders = format!("{}/orders", first.url);
    let order = tokio::spawn(
        client()
            .post(&orders)
            .json(&json!({"item": "chicken"}))
            .send(),
    );
    let asked = pay.asked(1).await;
    first.signal("KILL");
    assert!(order.await.unwrap().is_err());
    assert!(!first.exit().await.success());

    let second = App::start(env).await;
    let config = Config::from_env(Env::of_pairs(env)).unwrap();
    let database = Database::open(&config.database, &SCHEMAS).await.unwrap();
    let abandoned = async {
        let statement = "SELECT event_key FROM outbox WHERE kind = 'OrderAbandoned'";
        loop {
            let mut lease = database.connect().await.unwrap();
            let connection = &mut lease.connection();
            let row = query(connection, statement)
                .fetch_optional(connection)
                .await;
            if let Some(row) = row.unwrap() {
                break row.get::<String, _>(0);
            }
        }
    };
    let abandoned = tokio::time::timeout(PATIENCE, abandoned).await.unwrap();
    assert_eq!(abandoned, asked[0]);
    second.signal("TERM");
    let (status, said) = second.exit_and_read().await;
    assert!(status.success());
    let is_it = |line: &&Value| line["span"]["causation_id"] == "clock";
    let line = said.iter().find(is_it).unwrap();
    assert_eq!(line["span"]["correlation_id"], abandoned);
}

/// A pay service that breaks its answer off, and takes no other call.
async fn breaking_pay() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let half = "HTTP/1.1 201 Created\r\ncontent-length: 10\r\n\r\n12345";
        stream.write_all(half.as_bytes()).await.unwrap();
    });
    url
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_told_as_a_failure() {
    let collector = Collector::start().await.unwrap();
    let pay = breaking_pay().await;
    let app = App::start([
        ("PAY_URL", pay.as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ])
    .await;
    let order = client()
        .post(format!("{}/orders", app.url))
        .json(&json!({"item": "chicken"}));
    let refused = order.send().await.unwrap();
    assert_eq!(refused.headers()["x-refusal-reason"], "upstream-error");
    let is_call = |span: &&ToldSpan| span.kind == SpanKind::Client;
    let told = collector.until(|told| told.iter().any(|span| is_call(&span)));
    let told = tokio::time::timeout(PATIENCE, told).await.unwrap();
    let call = told.iter().find(is_call).unwrap();
    assert!(call.has_failed, "{call:?}");
    assert_eq!(call.attributes["error.type"], "broken");
    assert_eq!(call.attributes["http.response.status_code"], "201");
}

#[tokio::test]
async fn what_it_logs_about_an_order_has_the_orders_name_and_the_requests() {
    let nowhere = Nowhere::new().unwrap();
    let database = nowhere.url().replace("http", "postgres");
    let settings = [
        ("DATABASE_URL", database.as_str()),
        ("DB_CONNECT_TIMEOUT", "50ms"),
    ];
    let app = App::start(settings).await;
    let orders = format!("{}/orders", app.url);
    let id = "0af7651916cd43dd8448eb211c80319c";
    let placing = client().post(&orders).json(&json!({"item": "chicken"}));
    let cancelling = client().post(format!("{orders}/{id}/cancellation"));
    let finding = client().get(format!("{orders}/{id}"));
    for (request, asking) in [
        ("place", placing),
        ("cancel", cancelling),
        ("find", finding),
    ] {
        let refused = asking.header("x-request-id", request).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    app.signal("TERM");
    let (_, said) = app.exit_and_read().await;

    let failed = "the store of orders cannot be reached";
    let order_of = |request: &str| {
        let is_it = |line: &&Value| {
            line["fields"]["message"] == failed && line["span"]["causation_id"] == request
        };
        let line = said.iter().find(is_it);
        let line = line.unwrap_or_else(|| panic!("nothing of {request} in {said:#?}"));
        line["span"]["correlation_id"].as_str().unwrap()
    };
    // Nobody but the log knows what the order was to be called.
    assert!(order_of("place").parse::<OrderId>().is_ok());
    assert_eq!(order_of("cancel"), id);
    assert_eq!(order_of("find"), id);
}

#[tokio::test]
async fn a_signal_while_starting_ends_the_process() {
    let temporary = tempfile::tempdir().unwrap();
    let mut process = command(&temporary)
        .env("BOOT_DELAY", "100s")
        .env("RUST_LOG", "service_kit=debug")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
    while !log.next_line().await.unwrap().unwrap().contains("starting") {}
    let app = App {
        process,
        url: String::new(),
        says: tokio::spawn(all(Vec::new(), log)),
        temporary,
    };
    app.signal("TERM");
    assert_eq!(app.exit().await.code(), Some(0));
}
