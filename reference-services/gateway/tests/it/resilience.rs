//! Upstreams that are down, slow or break off, and what is sent again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use gateway::admission::Admission;
use gateway::config::Config;
use gateway::domain::Upstream;
use gateway::measurements::Measurements;
use gateway::ports::{UpstreamError, Upstreams};
use gateway::retries::UpstreamRetries;
use gateway::service::{Gateway, Refusal};
use http_body_util::BodyExt;
use service_kit::env::Env;
use test_servers::Nowhere;

use crate::entry::{assert_metric, assert_refused, get, open_gateway, post, send, text_of};
use crate::scripted_upstream::{Script, ScriptedUpstream, breaking};

#[tokio::test]
async fn an_upstream_that_is_down() {
    let nowhere = Nowhere::new().unwrap();
    let gateway = open_gateway([("APP_URL", nowhere.url())]);
    let refused = post(&gateway, "/orders", "{}").await;
    assert_refused(&refused, StatusCode::SERVICE_UNAVAILABLE, "connect");
    assert_metric(&gateway, "gateway_retries_total{upstream=\"app\"} 0").await;
    let refused = get(&gateway, "/orders").await;
    assert_refused(&refused, StatusCode::SERVICE_UNAVAILABLE, "connect");
    assert_metric(&gateway, "gateway_retries_total{upstream=\"app\"} 2").await;
    let failures = "gateway_upstream_failures_total{upstream=\"app\",reason=\"connect\"} 4";
    assert_metric(&gateway, failures).await;
}

#[tokio::test]
async fn an_upstream_that_is_slow_is_asked_once() {
    let app = ScriptedUpstream::start(Script::Hold).await;
    let url = app.url();
    let gateway = open_gateway([("APP_URL", url.as_str()), ("UPSTREAM_TIMEOUT", "50ms")]);
    let refused = get(&gateway, "/orders").await;
    assert_refused(&refused, StatusCode::GATEWAY_TIMEOUT, "timeout");
    assert_eq!(app.asked_so_far().len(), 1);
}

#[tokio::test]
async fn an_answer_that_stands_still_is_broken_off() {
    let app = ScriptedUpstream::start(Script::HoldHalfway).await;
    let url = app.url();
    let gateway = open_gateway([("APP_URL", url.as_str()), ("UPSTREAM_TIMEOUT", "50ms")]);
    let response = get(&gateway, "/orders").await;
    assert_eq!(response.status(), StatusCode::OK);
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!(error.to_string(), "the body took too long");
}

#[tokio::test]
async fn reading_is_repeated_when_the_connection_broke_and_ordering_never_is() {
    let (url, read) = breaking(1).await;
    let gateway = open_gateway([("APP_URL", url.as_str())]);
    assert_eq!(get(&gateway, "/orders").await.status(), StatusCode::OK);
    assert_eq!(*read.borrow(), 2);

    let (url, read) = breaking(1).await;
    let gateway = open_gateway([("APP_URL", url.as_str())]);
    let ordering = Request::post("/orders").header("idempotency-key", "1");
    let refused = send(&gateway, ordering.body(Body::from("{}")).unwrap()).await;
    assert_refused(&refused, StatusCode::BAD_GATEWAY, "upstream-error");
    assert_eq!(*read.borrow(), 1);
}

#[tokio::test]
async fn an_answer_is_an_answer_whatever_it_says() {
    let app = ScriptedUpstream::start(Script::Answer(StatusCode::SERVICE_UNAVAILABLE)).await;
    let gateway = open_gateway([("APP_URL", app.url().as_str())]);
    let response = get(&gateway, "/orders").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text_of(response).await, "as scripted");
    assert_eq!(app.asked_so_far().len(), 1);
}

/// Fails as scripted, then answers; keeps what it was sent.
struct Failing {
    failures: Mutex<VecDeque<UpstreamError>>,
    sent: Mutex<Vec<Bytes>>,
}

#[async_trait]
impl Upstreams for Failing {
    async fn send(
        &self,
        _upstream: Upstream,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, UpstreamError> {
        self.sent.lock().unwrap().push(request.into_body());
        let failure = self.failures.lock().unwrap().pop_front();
        failure.map_or_else(|| Ok(Response::new(Body::empty())), Err)
    }
}

async fn forward<'a>(
    failures: &[UpstreamError],
    request: Request<Bytes>,
    env: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> (Result<StatusCode, Refusal>, Vec<Bytes>) {
    let upstreams = Arc::new(Failing {
        failures: Mutex::new(failures.iter().copied().collect()),
        sent: Mutex::default(),
    });
    let swift = [("RETRY_BACKOFF", "1ms")];
    let config = Config::from_env(Env::of_pairs(swift.into_iter().chain(env))).unwrap();
    let measurements = Measurements::default();
    let gateway = Gateway {
        authority: None,
        limiter: None,
        admission: Admission::new(1, &measurements),
        retries: UpstreamRetries::new(config.retries),
        upstreams: upstreams.clone(),
        measurements,
    };
    let result = gateway.forward(Upstream::App, request).await;
    let sent = upstreams.sent.lock().unwrap().clone();
    (result.map(|response| response.status()), sent)
}

fn order() -> Request<Bytes> {
    Request::post("/orders")
        .body(Bytes::from_static(b"{}"))
        .unwrap()
}

fn order_with_key() -> Request<Bytes> {
    let mut order = order();
    order
        .headers_mut()
        .insert("idempotency-key", "1".parse().unwrap());
    order
}

#[tokio::test]
async fn an_order_with_a_key_is_sent_again_whole_as_long_as_nothing_was_sent() {
    let down = [UpstreamError::Connect; 2];
    let (answered, sent) = forward(&down, order_with_key(), []).await;
    assert_eq!(answered, Ok(StatusCode::OK));
    assert_eq!(sent, ["{}"; 3]);

    let (refused, sent) = forward(&down, order(), []).await;
    assert_eq!(refused, Err(UpstreamError::Connect.into()));
    assert_eq!(sent.len(), 1);

    let breaking = [UpstreamError::Connect, UpstreamError::Broken];
    let (refused, sent) = forward(&breaking, order_with_key(), []).await;
    assert_eq!(refused, Err(UpstreamError::Broken.into()));
    assert_eq!(sent.len(), 2);
}

#[tokio::test]
async fn repeats_end_at_the_limit_and_with_the_budget() {
    let down = [UpstreamError::Connect; 10];
    let (refused, sent) = forward(&down, order_with_key(), [("RETRY_LIMIT", "5")]).await;
    assert_eq!(refused, Err(UpstreamError::Connect.into()));
    assert_eq!(sent.len(), 6);
    let no_budget = [
        ("RETRY_BUDGET_PER_SECOND", "0"),
        ("RETRY_BUDGET_PERCENT", "0"),
    ];
    let (_, sent) = forward(&down, order_with_key(), no_budget).await;
    assert_eq!(sent.len(), 1);
}
