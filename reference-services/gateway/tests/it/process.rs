//! The gateway as a process: how it starts and ends, and clients that mean no good.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use test_servers::Nowhere;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::scripted_upstream::{Script, ScriptedUpstream};

const PATIENCE: Duration = Duration::from_secs(30);

struct Process {
    process: Child,
    address: String,
    /// What it said before it listened.
    said: Vec<Value>,
    /// What it says from then on until its end.
    says: JoinHandle<Vec<Value>>,
}

impl Process {
    async fn start<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .env_clear()
            .env("BIND_ADDR", "127.0.0.1")
            .env("PORT", "0")
            .env("ADMIN_PORT", "0")
            .env("LOG_FORMAT", "json")
            .envs(env)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = log.next_line().await.unwrap().expect("it never listened");
            let line: Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = line["fields"]["address"].as_str() {
                break address.to_owned();
            }
            said.push(line);
        };
        // The pipe must be read to its end, or the next line of log would stop the process.
        let says = tokio::spawn(async move {
            let mut said = Vec::new();
            while let Ok(Some(line)) = log.next_line().await {
                said.push(serde_json::from_str(&line).unwrap());
            }
            said
        });
        Self {
            process,
            address,
            said,
            says,
        }
    }

    async fn open<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::start([("GATEWAY_AUTH", "off")].into_iter().chain(env)).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The same at the port for operators, which it told of before.
    fn admin_url(&self, path: &str) -> String {
        let address = |line: &Value| line["fields"]["admin_address"].as_str().map(str::to_owned);
        let address = self.said.iter().find_map(address).unwrap();
        format!("http://{address}{path}")
    }

    /// Sends text as it is, and gives all that comes back until the connection ends.
    async fn raw(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("the connection was kept").unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn terminate(self) -> ExitStatus {
        self.terminate_and_read().await.0
    }

    /// Returns what it said since it listened, too.
    async fn terminate_and_read(mut self) -> (ExitStatus, Vec<Value>) {
        let pid = self.process.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status();
        assert!(sent.unwrap().success());
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        (status.unwrap().unwrap(), self.says.await.unwrap())
    }
}

#[tokio::test]
async fn it_says_once_that_its_doors_are_open_or_its_key_is_its_own() {
    let open = Process::open([]).await;
    let messages = |process: &Process| -> Vec<String> {
        let message = |line: &Value| line["fields"]["message"].as_str().unwrap().to_owned();
        let messages = process.said.iter().map(message);
        messages.filter(|message| message != "listening").collect()
    };
    assert_eq!(messages(&open), ["GATEWAY_AUTH=off: everybody is let in"]);
    let closed = Process::start([]).await;
    assert_eq!(
        messages(&closed),
        [
            "JWT_KEY is not set: tokens are signed with a key that is gone with this process",
            "OAUTH_CLIENTS is not set: nobody can get a token"
        ]
    );
    let ready = reqwest::get(closed.admin_url("/readyz")).await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    let orders = reqwest::get(closed.url("/orders")).await.unwrap();
    assert_eq!(orders.status(), StatusCode::UNAUTHORIZED);
}

/// What is for operators and not for clients.
const ADMIN_PATHS: [&str; 3] = ["/metrics", "/livez", "/readyz"];

async fn status_of(url: &str) -> StatusCode {
    reqwest::get(url).await.unwrap().status()
}

#[tokio::test]
async fn what_is_for_operators_is_at_a_port_of_its_own_and_not_at_that_of_clients() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let url = app.url();
    let gateway = Process::open([("APP_URL", url.as_str())]).await;
    for path in ADMIN_PATHS {
        let refused = reqwest::get(gateway.url(path)).await.unwrap();
        assert_eq!(refused.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(
            refused.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(status_of(&gateway.admin_url(path)).await, StatusCode::OK);
    }
    assert_eq!(status_of(&gateway.url("/orders")).await, StatusCode::OK);
    for (path, status) in [("/orders", 404), ("/oauth2/token", 404), ("/", 404)] {
        let refused = reqwest::get(gateway.admin_url(path)).await.unwrap();
        assert_eq!(refused.status(), status, "{path}");
        assert_eq!(
            refused.headers()["content-type"],
            "application/problem+json"
        );
    }
    assert_eq!(app.asked_so_far().len(), 1);

    let metrics = reqwest::get(gateway.admin_url("/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for series in [
        "http_requests_total{method=\"GET\",route=\"/orders\",status=\"200\"} 1",
        "http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 3",
    ] {
        let is_there = metrics.lines().any(|line| line == series);
        assert!(is_there, "no {series} in\n{metrics}");
    }
}

#[tokio::test]
async fn operators_see_at_their_port_that_it_drains_while_clients_are_still_served() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let url = app.url();
    let gateway = Process::open([("APP_URL", url.as_str()), ("DRAIN_DELAY", "100s")]).await;
    let (orders, ready) = (gateway.url("/orders"), gateway.admin_url("/readyz"));
    assert_eq!(status_of(&ready).await, StatusCode::OK);
    let exit = tokio::spawn(gateway.terminate());
    let draining = async { while status_of(&ready).await != StatusCode::SERVICE_UNAVAILABLE {} };
    tokio::time::timeout(PATIENCE, draining).await.unwrap();
    assert_eq!(status_of(&orders).await, StatusCode::OK);
    // The process with it.
    exit.abort();
}

#[tokio::test]
async fn a_connection_that_an_operator_keeps_does_not_keep_it_from_its_end() {
    let gateway = Process::open([("DRAIN_LIMIT", "20s")]).await;
    let operator = reqwest::Client::new();
    let alive = operator.get(gateway.admin_url("/livez")).send().await;
    assert_eq!(alive.unwrap().text().await.unwrap(), "alive");
    assert_eq!(gateway.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_port_for_operators_that_is_taken_is_told_in_one_line() {
    let nobody = Nowhere::new().unwrap();
    let address = nobody.url().strip_prefix("http://").unwrap();
    let (_, port) = address.split_once(':').unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .env_clear()
        .env("BIND_ADDR", "127.0.0.1")
        .env("PORT", "0")
        .env("ADMIN_PORT", port)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.expect("it listens elsewhere alone").unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let expected = format!("error: cannot listen on {address}: ");
    assert!(message.starts_with(&expected), "{message}");
    assert_eq!(message.lines().count(), 1);
}

#[tokio::test]
async fn a_terminated_gateway_finishes_what_it_has_in_hand() {
    let app = ScriptedUpstream::start(Script::Hold).await;
    let gateway = Process::open([("APP_URL", app.url().as_str())]).await;
    let order = reqwest::Client::new()
        .post(gateway.url("/orders"))
        .body("{}");
    let order = tokio::spawn(order.send());
    app.asked(1).await;
    let exit = tokio::spawn(gateway.terminate());
    app.allow(1);
    assert_eq!(order.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(exit.await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn clients_that_send_slowly_are_left_and_nothing_reaches_the_service() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let url = app.url();
    let gateway = Process::open([
        ("APP_URL", url.as_str()),
        ("HEADER_TIMEOUT", "50ms"),
        ("BODY_TIMEOUT", "50ms"),
        // One slow client would be enough to keep everybody out, if it had a place.
        ("IN_FLIGHT_LIMIT", "1"),
    ])
    .await;
    assert_eq!(
        gateway.raw("POST /orders HTTP/1.1\r\nhost: a\r\n").await,
        ""
    );
    let slow = "POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n{";
    let answer = gateway.raw(slow).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert_eq!(app.asked_so_far().len(), 0);
}

#[tokio::test]
async fn who_asks_for_a_token_slowly_is_left_and_who_asks_at_length_is_refused() {
    let gateway = Process::start([("BODY_TIMEOUT", "50ms"), ("BODY_LIMIT", "100")]).await;
    let header = "POST /oauth2/token HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                  content-type: application/x-www-form-urlencoded\r\n";
    let grant = "grant_type=client_credentials&";
    let padding = "x".repeat(101);
    for (body, status) in [
        (format!("content-length: 99\r\n\r\n{grant}"), "408"),
        (
            format!("transfer-encoding: chunked\r\n\r\n1e\r\n{grant}\r\n"),
            "408",
        ),
        (
            format!("content-length: 131\r\n\r\n{grant}{padding}"),
            "413",
        ),
        (
            format!("transfer-encoding: chunked\r\n\r\n65\r\n{padding}\r\n0\r\n\r\n"),
            "413",
        ),
    ] {
        let answer = gateway.raw(&format!("{header}{body}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(!answer.contains("access_token"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_sends_slowly_takes_no_place() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let url = app.url();
    let gateway = Process::open([("APP_URL", url.as_str()), ("IN_FLIGHT_LIMIT", "1")]).await;
    let mut slow = TcpStream::connect(&gateway.address).await.unwrap();
    let begun =
        "POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    slow.write_all(begun.as_bytes()).await.unwrap();
    let mut asked_for_its_body = [0; 25];
    slow.read_exact(&mut asked_for_its_body).await.unwrap();
    assert_eq!(&asked_for_its_body, b"HTTP/1.1 100 Continue\r\n\r\n");
    let served = reqwest::get(gateway.url("/orders")).await.unwrap();
    assert_eq!(served.status(), StatusCode::OK);
}

#[tokio::test]
async fn huge_requests_are_refused_and_do_not_reach_the_service() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let url = app.url();
    let gateway = Process::open([("APP_URL", url.as_str()), ("BODY_LIMIT", "100")]).await;
    let client = reqwest::Client::new();
    let body = "x".repeat(101);
    let refused = client
        .post(gateway.url("/orders"))
        .body(body.clone())
        .send();
    let refused = refused.await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );

    let chunked = "POST /orders HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let answer = gateway
        .raw(&format!("{chunked}65\r\n{body}\r\n0\r\n\r\n"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let header = "x".repeat(300 * 1024);
    let mut stream = TcpStream::connect(&gateway.address).await.unwrap();
    let request = format!("GET /orders HTTP/1.1\r\nx-huge: {header}\r\n\r\n");
    // It may be cut off before all is written, and then the answer may be lost.
    let written = stream.write_all(request.as_bytes()).await.is_ok();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await.is_ok();
    let is_refused = answer.starts_with("HTTP/1.1 431 ");
    assert!(is_refused || !(written && read), "{answer}");
    assert_eq!(app.asked_so_far().len(), 0);
}

#[tokio::test]
async fn requests_that_could_be_smuggled_are_refused() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let gateway = Process::open([("APP_URL", app.url().as_str())]).await;
    for framing in [
        "content-length: 1\r\ncontent-length: 2",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "content-length: +1",
    ] {
        let request = format!("POST /orders HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
        let answer = gateway.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing}: {answer}");
    }
    assert_eq!(app.asked_so_far().len(), 0);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_no_request_and_is_told_of_once() {
    let app = ScriptedUpstream::start(Script::Echo).await;
    let nobody = Nowhere::new().unwrap();
    let gateway = Process::open([
        ("APP_URL", app.url().as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", nobody.url()),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
    ])
    .await;
    let lost = async || -> u64 {
        let metrics = reqwest::get(gateway.admin_url("/metrics")).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let mut lines = metrics.lines();
        let lost = lines.find_map(|line| line.strip_prefix("trace_spans_lost_total "));
        lost.unwrap().parse().unwrap()
    };
    let losing = async {
        let mut known = 0;
        // In three batches at least.
        for _ in 0..3 {
            while lost().await == known {
                let served = reqwest::get(gateway.url("/orders")).await.unwrap();
                assert_eq!(served.status(), StatusCode::OK);
            }
            known = lost().await;
        }
    };
    let losing = tokio::time::timeout(PATIENCE, losing).await;
    losing.expect("nobody counts what is lost");
    let (status, said) = gateway.terminate_and_read().await;
    assert_eq!(status.code(), Some(0));
    let of_collector = said.iter().filter(|line| {
        let message = line["fields"]["message"].as_str().unwrap();
        message.contains("collector")
    });
    assert_eq!(of_collector.count(), 1, "{said:#?}");
}

#[tokio::test]
async fn what_it_logs_about_a_request_has_the_id_that_the_services_behind_are_told() {
    let nobody = Nowhere::new().unwrap();
    let gateway = Process::open([
        ("APP_URL", nobody.url()),
        ("RUST_LOG", "info,gateway=debug"),
    ])
    .await;
    let asking = reqwest::Client::new().get(gateway.url("/orders"));
    let refused = asking.header("x-request-id", "a-1").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let (_, said) = gateway.terminate_and_read().await;
    let is_about_it = |line: &&Value| line["fields"]["message"] == "no answer";
    let line = said.iter().find(is_about_it).unwrap();
    let spans = line["spans"].as_array().unwrap();
    let has_id = |span: &Value| span["causation_id"] == "a-1";
    assert!(spans.iter().any(has_id), "{line}");
}

#[tokio::test]
async fn wrong_settings_are_told_in_one_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .env_clear()
        .env("APP_URL", "nowhere at all")
        .env("JWT_KEY", "short")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        ["APP_URL", "JWT_KEY", "OTEL_EXPORTER_OTLP_ENDPOINT"]
            .iter()
            .all(|name| message.contains(name)),
        "{message}"
    );
    assert!(!message.contains("short"), "{message}");
    assert_eq!(message.lines().count(), 1);
}
