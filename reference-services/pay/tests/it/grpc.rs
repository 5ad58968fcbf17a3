//! pay over gRPC: the same payments as over HTTP.

use std::process::Stdio;
use std::sync::Arc;

use axum::Router;
use pay::adapters::grpc::proto::payments_client::PaymentsClient;
use pay::adapters::grpc::proto::{FindRequest, PayRequest, Payment, Status};
use serde_json::Value;
use service_kit::events::memory::MemoryBus;
use tokio::io::{AsyncBufReadExt, BufReader};
use tonic::Code;
use tonic::transport::Channel;

use crate::http::{build, given_up, refunds, tell};

async fn pay() -> Router {
    build(None, []).await
}

fn of(order_id: &str, amount: Option<u32>) -> PayRequest {
    PayRequest {
        order_id: order_id.to_owned(),
        amount,
    }
}

fn named(order_id: &str) -> FindRequest {
    FindRequest {
        order_id: order_id.to_owned(),
    }
}

#[tokio::test]
async fn a_payment_is_taken_once_and_can_be_seen_on_both_sides() {
    let pay = pay().await;
    let mut client = PaymentsClient::new(pay.clone());
    let expected = Payment {
        order_id: "42".to_owned(),
        amount: Some(18_000),
        status: Status::Taken.into(),
    };
    let mut latencies = Vec::new();
    for _ in 0..2 {
        let taken = client.pay(of("42", Some(18_000))).await.unwrap();
        let latency = taken.metadata().get("x-simulated-latency-ms").unwrap();
        latencies.push(latency.to_str().unwrap().parse::<f64>().unwrap());
        assert_eq!(taken.into_inner(), expected);
    }
    assert!(latencies[0] >= 1.0, "{latencies:?}");
    assert_eq!(latencies[1], 0.0);
    assert_eq!(
        client.find(named("42")).await.unwrap().into_inner(),
        expected
    );

    let over_http = crate::http::get(&pay, "/payments").await;
    let over_http = crate::http::json_of(over_http).await;
    assert_eq!(
        over_http,
        serde_json::json!([{"orderId": "42", "amount": 18_000, "status": "taken"}])
    );
}

#[tokio::test]
async fn a_payment_that_was_given_back_is_told_so_and_not_taken_again() {
    let bus = Arc::new(MemoryBus::new());
    let mut client = PaymentsClient::new(build(Some(Arc::clone(&bus)), []).await);
    client.pay(of("42", Some(18_000))).await.unwrap();
    let events = [
        given_up("OrderCancelled", "42"),
        given_up("OrderAbandoned", "43"),
    ];
    tell(&bus, &events.each_ref()).await;
    refunds(&bus, 1).await;
    let found = client.find(named("42")).await.unwrap().into_inner();
    assert_eq!(found.status(), Status::Refunded);
    let unknown = client.find(named("43")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    for order_id in ["42", "43"] {
        let declined = client.pay(of(order_id, Some(18_000))).await.unwrap_err();
        assert_eq!(declined.code(), Code::FailedPrecondition);
    }
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_so() {
    let mut client = PaymentsClient::new(pay().await);
    client.pay(of("42", None)).await.unwrap();
    for (request, code) in [
        (of("42", Some(1)), Code::AlreadyExists),
        (of("", None), Code::InvalidArgument),
        (of("a b", None), Code::InvalidArgument),
        (of(&"x".repeat(5000), None), Code::OutOfRange),
    ] {
        let refused = client.pay(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    for (order_id, code) in [("unknown", Code::NotFound), ("a b", Code::InvalidArgument)] {
        let refused = client.find(named(order_id)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
}

#[tokio::test]
async fn an_answer_that_is_an_error_is_counted_as_one() {
    let pay = pay().await;
    let mut client = PaymentsClient::new(pay.clone());
    client.pay(of("42", None)).await.unwrap();
    client.pay(of("a b", None)).await.unwrap_err();
    client.pay(of("42", Some(1))).await.unwrap_err();
    client.find(named("unknown")).await.unwrap_err();
    let metrics = crate::http::get(&pay, "/metrics").await.into_body();
    let metrics = axum::body::to_bytes(metrics, usize::MAX).await.unwrap();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    for (call, status) in [("Pay", 200), ("Pay", 400), ("Pay", 409), ("Find", 404)] {
        let series = format!(
            "http_requests_total{{method=\"POST\",\
             route=\"/fooddelivery.pay.v1.Payments/{call}\",status=\"{status}\"}} 1"
        );
        let is_there = metrics.lines().any(|line| line == series);
        assert!(is_there, "no {series} in\n{metrics}");
    }
}

#[tokio::test]
async fn it_is_served_where_http_2_is_spoken() {
    let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_pay"))
        .env_clear()
        .env("BIND_ADDR", "127.0.0.1")
        .env("PORT", "0")
        .env("HTTP2_PORT", "0")
        .env("LOG_FORMAT", "json")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = loop {
        let line = log.next_line().await.unwrap().expect("it never listened");
        let line: Value = serde_json::from_str(&line).unwrap();
        if let Some(address) = line["fields"]["http2_address"].as_str() {
            break address.to_owned();
        }
    };
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = PaymentsClient::new(channel.connect().await.unwrap());
    let taken = client.pay(of("42", Some(1))).await.unwrap();
    assert_eq!(taken.into_inner().order_id, "42");
    let status = std::process::Command::new("kill")
        .args(["-s", "TERM", &process.id().unwrap().to_string()])
        .status();
    assert!(status.unwrap().success());
    // The client's connection is kept, and does not keep pay from its end.
    assert_eq!(process.wait().await.unwrap().code(), Some(0));
    assert_eq!(
        client.pay(of("43", None)).await.unwrap_err().code(),
        Code::Unavailable
    );
}
