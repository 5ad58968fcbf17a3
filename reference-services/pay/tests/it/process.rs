//! pay as a process.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use pay::adapters::grpc::proto::payments_client::PaymentsClient;
use pay::adapters::grpc::proto::{FindRequest, PayRequest};
use serde_json::{Value, json};
use test_servers::Nowhere;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;
use tonic::Request;
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(30);

fn pay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pay"));
    command.env_clear().env("BIND_ADDR", "127.0.0.1");
    command
}

#[test]
fn a_port_in_use_is_told_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = pay().env("PORT", &port).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        message,
        format!("error: cannot listen on 127.0.0.1:{port}: Address already in use (os error 98)\n")
    );
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let output = pay()
        .env("PAY_LATENCY_BASE", "fast")
        .env("DB_POOL", "none")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    for name in ["PAY_LATENCY_BASE", "DB_POOL"] {
        assert!(message.contains(name), "{message}");
    }
    assert_eq!(message.lines().count(), 1);
}

/// The next line of a log that has this field.
async fn next(log: &mut Lines<BufReader<ChildStdout>>, field: &str) -> Value {
    let reading = async {
        loop {
            let line = log.next_line().await.unwrap().expect("it has ended");
            let line: Value = serde_json::from_str(&line).unwrap();
            if !line["fields"][field].is_null() {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(PATIENCE, reading).await;
    line.unwrap_or_else(|_| panic!("no line has {field}"))
}

/// A call over gRPC of the request called `id`.
fn call<T>(id: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-request-id", id.parse().unwrap());
    request
}

#[tokio::test]
async fn what_it_logs_about_a_payment_has_the_orders_name_and_the_requests() {
    let nowhere = Nowhere::new().unwrap();
    let mut process = tokio::process::Command::from(pay())
        .env("PORT", "0")
        .env("HTTP2_PORT", "0")
        .env("LOG_FORMAT", "json")
        .env("DATABASE_URL", nowhere.url().replace("http", "postgres"))
        .env("DB_CONNECT_TIMEOUT", "50ms")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut url = async |field| {
        let line = next(&mut log, field).await;
        format!("http://{}", line["fields"][field].as_str().unwrap())
    };
    let payments = format!("{}/payments", url("address").await);
    let grpc = url("http2_address").await;

    let client = reqwest::Client::new();
    let taking = client.post(&payments).json(&json!({"orderId": "a"}));
    taking.header("x-request-id", "1").send().await.unwrap();
    let finding = client.get(format!("{payments}/b"));
    finding.header("x-request-id", "2").send().await.unwrap();
    let channel = Channel::from_shared(grpc).unwrap();
    let mut client = PaymentsClient::new(channel.connect().await.unwrap());
    let taking = PayRequest {
        order_id: "c".to_owned(),
        amount: None,
    };
    client.pay(call("3", taking)).await.unwrap_err();
    let finding = FindRequest {
        order_id: "d".to_owned(),
    };
    client.find(call("4", finding)).await.unwrap_err();

    for (order_id, request_id) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
        // Why the database cannot be reached.
        let line = next(&mut log, "cause").await;
        let message = &line["fields"]["message"];
        assert_eq!(message, "the store of payments cannot be reached");
        assert_eq!(line["span"]["correlation_id"], order_id, "{line}");
        assert_eq!(line["span"]["causation_id"], request_id, "{line}");
    }
}
