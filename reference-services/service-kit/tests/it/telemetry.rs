//! What a collector is told of a request that goes from service to service and on by an event.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prometheus_client::registry::Registry;
use service_kit::env::Env;
use service_kit::events::memory::MemoryBus;
use service_kit::events::{Event, EventBus, HandleError, Handler, Subscription, follow};
use service_kit::server::{self, ServerConfig};
use service_kit::telemetry::{self, TelemetryConfig};
use service_kit::trace::{self, TRACEPARENT};
use test_servers::{Collector, SpanKind, ToldSpan};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENTS_SPAN: &str = "00f067aa0ba902b7";

/// Serves `api` as every service does, and tells where.
async fn serve(api: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = ServerConfig::from_env(&mut Env::of_pairs([]), 0);
    let routers = server::routers(&config, api, Registry::default());
    tokio::spawn(async move { axum::serve(listener, routers.api).await });
    url
}

async fn ask(url: &str, traceparent: &str) -> StatusCode {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(url).header(TRACEPARENT, traceparent);
    let request = request.body(Body::empty()).unwrap();
    client.request(request).await.unwrap().status()
}

fn traceparent(headers: &HeaderMap) -> &str {
    headers[TRACEPARENT].to_str().unwrap()
}

/// Passes a request on to the URL that it is given.
async fn front(State(url): State<String>, headers: HeaderMap) -> StatusCode {
    let parent = Some(traceparent(&headers));
    let mut span = trace::calling(&Method::GET, "/back/{id}", &url, parent);
    let status = ask(&url, &span.traceparent()).await;
    trace::answered(&mut span, status);
    status
}

/// Tells of each request, and fails.
async fn back(State(bus): State<Arc<MemoryBus>>, headers: HeaderMap) -> StatusCode {
    let mut event = Event::new("Asked", "7", "request", &());
    event.traceparent = Some(traceparent(&headers).to_owned());
    bus.publish(&[event.to("questions")]).await.unwrap();
    StatusCode::SERVICE_UNAVAILABLE
}

struct Listener;

#[async_trait]
impl Handler for Listener {
    async fn handle(&self, event: &Event) -> Result<(), HandleError> {
        event.read::<u32>(1).map(drop)
    }
}

/// The one span of this kind.
fn only<'a>(spans: &[&'a ToldSpan], kind: SpanKind, name: &str) -> &'a ToldSpan {
    let is_it = |span: &&&ToldSpan| span.kind == kind && span.name == name;
    let found: Vec<_> = spans.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{kind:?} {name} in {spans:#?}");
    found[0]
}

fn attribute<'a>(span: &'a ToldSpan, name: &str) -> &'a str {
    span.attributes.get(name).map_or("", String::as_str)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_of_every_request_call_and_event_as_one_trace() {
    let collector = Collector::start().await.unwrap();
    let mut env = Env::of_pairs([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("RUST_LOG", "off"),
    ]);
    let config = TelemetryConfig::from_env(&mut env);
    let telemetry = telemetry::start(&config).unwrap();

    let bus = Arc::new(MemoryBus::new());
    let subscription = Subscription::new("listener", &["questions"]);
    let stop = CancellationToken::new();
    let following = tokio::spawn(follow(
        Arc::<MemoryBus>::clone(&bus),
        subscription.clone(),
        Listener,
        stop.clone(),
    ));
    let api = Router::new().route("/back/{id}", get(back));
    let back_url = serve(api.with_state(Arc::clone(&bus))).await;
    let api = Router::new().route("/front", get(front));
    let front_url = serve(api.with_state(format!("{back_url}/back/7"))).await;
    let url = format!("{front_url}/front");
    let asked = format!("00-{TRACE}-{CLIENTS_SPAN}-01");
    assert_eq!(ask(&url, &asked).await, StatusCode::SERVICE_UNAVAILABLE);
    let not_sampled = format!("00-{TRACE}-{CLIENTS_SPAN}-00");
    ask(&url, &not_sampled).await;
    let nothing = format!("{front_url}/nothing");
    assert_eq!(ask(&nothing, &asked).await, StatusCode::NOT_FOUND);
    bus.until_handled(&subscription).await;
    stop.cancel();
    following.await.unwrap();
    // Everything has been told when this returns.
    telemetry.end().await;

    let told = collector.until(|_| true).await;
    let spans: Vec<&ToldSpan> = told.iter().filter(|span| span.trace == TRACE).collect();
    assert_eq!(spans.len(), 6, "{spans:#?}");
    let served = only(&spans, SpanKind::Server, "GET /front");
    assert_eq!(served.parent, CLIENTS_SPAN);
    assert!(served.has_failed);
    assert_eq!(attribute(served, "http.request.method"), "GET");
    assert_eq!(attribute(served, "http.route"), "/front");
    assert_eq!(attribute(served, "http.response.status_code"), "503");
    // Of what is not served, too, by the method alone: clients make paths up.
    let refused = only(&spans, SpanKind::Server, "GET");
    assert_eq!(refused.parent, CLIENTS_SPAN);
    assert_eq!(attribute(refused, "http.response.status_code"), "404");
    let called = only(&spans, SpanKind::Client, "GET /back/{id}");
    assert_eq!(called.parent, served.id);
    assert_eq!(attribute(called, "server.address"), "127.0.0.1");
    assert_eq!(attribute(called, "url.full"), format!("{back_url}/back/7"));
    assert_eq!(attribute(called, "error.type"), "503");
    let behind = only(&spans, SpanKind::Server, "GET /back/{id}");
    assert_eq!(behind.parent, called.id);
    assert_eq!(attribute(behind, "url.path"), "/back/7");
    let sent = only(&spans, SpanKind::Producer, "send questions");
    assert_eq!(sent.parent, behind.id);
    assert!(!sent.has_failed);
    assert_eq!(attribute(sent, "messaging.destination.name"), "questions");
    let heard = only(&spans, SpanKind::Consumer, "process questions");
    assert_eq!(heard.parent, sent.id);
    assert_eq!(
        attribute(heard, "messaging.consumer.group.name"),
        "listener"
    );
    // It could not be read.
    assert!(heard.has_failed);
    // What has no name of its own is called after its program.
    assert!(served.service.starts_with("it-"), "{}", served.service);

    // And nobody misses anything when there is nobody to tell any more.
    assert_eq!(ask(&url, &asked).await, StatusCode::SERVICE_UNAVAILABLE);
}
