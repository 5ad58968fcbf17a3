//! Every way a request can end is counted under its real cause, as often as the server says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::Tick;
use holdfast_core::experiment::{Connections, Request};
use holdfast_core::outcome::{Reason, Source};
use holdfast_core::template::Template;
use holdfast_engine::{Events, LoadDriver as _};
use holdfast_load::{Connector, Endpoint, Options, driver};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use crate::load::{Told, order, plan, run};
use crate::server::{Act, Server};

const SHORT: Duration = Duration::from_millis(400);

/// Runs two users with a short pause against a server that always does the same, and checks
/// that each request the server saw has ended for `reason`.
async fn assert_reason(act: Act, reason: Reason) -> Told {
    let server = Server::start(move |_, _| act).await;
    let mut plan = plan(2, SHORT);
    plan.journeys[0].think_time = Duration::from_millis(30);
    // What ends by itself may take as long as a busy machine needs for it.
    plan.timeout = match reason {
        Reason::HeaderTimeout | Reason::BodyStall => Duration::from_millis(120),
        _ => Duration::from_secs(60),
    };
    let told = run(&server.url(), &plan, Options::default()).await;
    let seen = server.ledger().requests();
    assert!(seen >= 2);
    assert_eq!(told.reasons(), BTreeMap::from([(reason, seen)]), "{act:?}");
    assert_eq!(told.failed.len() as u64, seen);
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn expected_answers_are_expected() {
    let server = Server::start(|_, _| Act::Created).await;
    let mut plan = plan(4, Duration::from_millis(1200));
    plan.journeys[0].think_time = Duration::from_millis(20);
    let told = run(&server.url(), &plan, Options::default()).await;
    let ledger = server.ledger();
    assert!(ledger.requests() >= 4);
    assert_eq!(told.expected(), ledger.requests());
    assert_eq!(ledger.connections, ledger.requests());
    let loaded = told.of(Source::Users).filter(|tick| !tick.draining);
    assert_eq!(loaded.count(), 2);
    let head = ledger.heads[0].to_ascii_lowercase();
    assert!(head.starts_with("post /orders http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {}\r\n", server.address)));
    assert!(head.contains("\r\nconnection: close\r\n"));
    assert!(head.contains("\r\ncontent-type: application/json\r\n"));
    assert_eq!(ledger.bodies[0], "{\"item\":\"chicken\"}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_end_before_the_headers() {
    assert_reason(Act::CloseBeforeHeaders, Reason::ResetBeforeHeaders).await;
    let told = assert_reason(Act::ResetBeforeHeaders, Reason::ResetBeforeHeaders).await;
    assert!(told.failed[0].detail.contains("reset by peer"));
    assert_reason(Act::Garbage, Reason::ResetBeforeHeaders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_end_after_the_headers() {
    let told = assert_reason(Act::ShortBody, Reason::ShortBody).await;
    assert_eq!(told.failed[0].status, Some(201));
    assert_reason(Act::BadChunk, Reason::ResetAfterHeaders).await;
    assert_reason(Act::ResetAfterHeaders, Reason::ResetAfterHeaders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_stall() {
    let told = assert_reason(Act::StallHeaders, Reason::HeaderTimeout).await;
    assert_eq!(told.failed[0].status, None);
    assert!(told.failed[0].service_time >= Duration::from_millis(120));
    let told = assert_reason(Act::StallBody, Reason::BodyStall).await;
    assert_eq!(told.failed[0].status, Some(201));
    let slowest = told
        .ticks
        .iter()
        .filter_map(|tick| tick.latency_unexpected.max());
    assert!(slowest.min().unwrap() >= Duration::from_millis(120));
    // Ten of the twenty bytes of each answer arrived.
    let bytes = told.sum(Source::Users, |tick| tick.siege.bytes);
    assert_eq!(bytes, 10 * told.failed.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn unexpected_statuses() {
    for (status, reason) in [
        (404, Reason::Status4xx),
        (429, Reason::Status429),
        (500, Reason::Status5xx),
        (503, Reason::Status5xx),
        (200, Reason::StatusOther),
        (302, Reason::StatusOther),
    ] {
        let told = assert_reason(Act::Answer(status, "", "no"), reason).await;
        let answers = |tick: &Tick| tick.statuses.get(&status).copied().unwrap_or(0);
        let counted = told.sum(Source::Users, answers);
        assert_eq!(counted, told.failed.len() as u64);
        assert!(told.failed[0].detail.starts_with(&status.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_why() {
    for (header, reason) in [
        ("x-refusal-reason: breaker-open", Reason::BreakerOpen),
        ("x-refusal-reason: bulkhead-full", Reason::BulkheadFull),
        ("x-refusal-reason: timeout", Reason::DependencyTimeout),
        ("x-refusal-reason: connect", Reason::DependencyUnreachable),
        ("x-refusal-reason: upstream-error", Reason::DependencyError),
        ("x-refusal-reason: pool-exhausted", Reason::PoolExhausted),
        ("x-refusal-reason: shed", Reason::Shed),
        ("x-refusal-reason: something new", Reason::Status5xx),
    ] {
        assert_reason(Act::Answer(503, header, ""), reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_problem_title_is_kept() {
    let act = Act::Answer(
        503,
        "content-type: application/problem+json",
        "{\"title\":\"payment is\\nbusy\",\"status\":503}",
    );
    let told = assert_reason(act, Reason::Status5xx).await;
    assert_eq!(told.failed[0].detail, "payment is busy");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens() {
    // Bound but not listening: the port stays ours and refuses.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let mut plan = plan(2, SHORT);
    plan.journeys[0].think_time = Duration::from_millis(30);
    let told = run(&url, &plan, Options::default()).await;
    let sent = told.sum(Source::Users, |tick| tick.sent);
    assert!(sent >= 2);
    let refused = BTreeMap::from([(Reason::ConnectRefused, sent)]);
    assert_eq!(told.reasons(), refused);
    assert!(told.failed[0].detail.contains("refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_does_not_accept() {
    // A full accept queue lets further connection attempts go unanswered.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    let patience = Duration::from_millis(200);
    while let Ok(connected) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
    }
    let mut plan = plan(2, SHORT);
    plan.timeout = Duration::from_millis(120);
    let told = run(&format!("http://{address}"), &plan, Options::default()).await;
    let sent = told.sum(Source::Users, |tick| tick.sent);
    let timed_out = BTreeMap::from([(Reason::ConnectTimeout, sent)]);
    assert_eq!(told.reasons(), timed_out);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_failures_are_kept() {
    let server = Server::start(|_, _| Act::Answer(503, "", "")).await;
    let told = run(
        &server.url(),
        &plan(8, Duration::from_secs(2)),
        Options::default(),
    )
    .await;
    let seen = server.ledger().requests();
    assert!(seen > 1000, "{seen} requests are too few for this test");
    assert_eq!(told.failed.len(), 1000);
    assert_eq!(told.finished.failures_not_kept, seen - 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_sent_in_turn_under_the_base_path() {
    let server = Server::start(|_, head| {
        if head.starts_with("GET /api/menu?day=1 ") {
            Act::Answer(200, "", "menu")
        } else {
            Act::Created
        }
    })
    .await;
    let menu = Request {
        method: "GET".to_owned(),
        path: Template::fixed("/menu?day=1"),
        headers: BTreeMap::new(),
        body: None,
        expect: vec![200],
        ..order()
    };
    let mut plan = plan(1, SHORT);
    plan.journeys[0].think_time = Duration::from_millis(10);
    plan.journeys[0].requests = vec![menu, order()];
    let url = format!("{}/api/", server.url());
    let told = run(&url, &plan, Options::default()).await;
    let ledger = server.ledger();
    assert_eq!(told.expected(), ledger.requests());
    for (number, head) in ledger.heads.iter().enumerate() {
        let menus_turn = number % 2 == 0;
        assert_eq!(head.starts_with("GET /api/menu"), menus_turn, "{head}");
        assert_eq!(head.starts_with("POST /api/orders"), !menus_turn, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_are_used_again_and_replaced_when_closed() {
    let mut plan = plan(2, SHORT);
    plan.transport.connections = Connections::KeepAlive;
    plan.journeys[0].think_time = Duration::from_millis(10);
    let server = Server::start(|_, _| Act::Created).await;
    let told = run(&server.url(), &plan, Options::default()).await;
    let ledger = server.ledger();
    assert_eq!(told.expected(), ledger.requests());
    assert_eq!(ledger.connections, 2);
    assert!(!ledger.heads[0].to_ascii_lowercase().contains("connection:"));

    let server = Server::start(|_, _| Act::CreatedThenClose).await;
    let told = run(&server.url(), &plan, Options::default()).await;
    let ledger = server.ledger();
    assert_eq!(told.expected(), ledger.requests());
    assert_eq!(told.reasons(), BTreeMap::new());
    assert_eq!(ledger.connections, ledger.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_refused_before_the_load() {
    let fails = async |url: &str, change: fn(&mut Request)| {
        let mut plan = plan(1, SHORT);
        change(&mut plan.journeys[0].requests[0]);
        let (sender, mut receiver) = unbounded_channel();
        let load = driver(url, Options::default()).unwrap();
        let run = load.run(&plan, Events::new(sender), CancellationToken::new());
        let error = run.await.unwrap_err().to_string();
        assert!(receiver.recv().await.is_none(), "nothing has begun");
        error
    };
    let here = "http://127.0.0.1:9";
    let unresolved = fails("http://no-such-host.invalid", |_| {}).await;
    assert!(unresolved.starts_with("the target `no-such-host.invalid` does not resolve"));
    let method = fails(here, |request| request.method = "NO WAY".to_owned()).await;
    assert_eq!(method, "the method `NO WAY` is not a valid HTTP method");
    let path = fails(here, |request| request.path = Template::fixed("/a b")).await;
    assert!(path.starts_with("the path `/a b`"));
    let framing = fails(here, |request| {
        let length = Template::fixed("1");
        request.headers.insert("Content-Length".to_owned(), length);
    });
    let framing = framing.await;
    assert_eq!(
        framing,
        "the header `Content-Length` follows from the body; leave it out"
    );
    let scheme = driver("ftp://127.0.0.1", Options::default()).unwrap_err();
    assert!(scheme.to_string().contains("neither http nor https"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_can_name_another_server() {
    let (here, there) = (
        Server::start(|_, _| Act::Created).await,
        Server::start(|_, _| Act::Created).await,
    );
    let to = |path: &str| Request {
        path: Template::fixed(path),
        ..order()
    };
    let mut plan = plan(1, SHORT);
    plan.transport.connections = Connections::KeepAlive;
    plan.journeys[0].think_time = Duration::from_millis(10);
    plan.journeys[0].requests = vec![
        to("/a"),
        to(&format!("{}/b?c=1#d", there.url())),
        to(&there.url().replace("http", "HTTP")),
    ];
    let told = run(&format!("{}/api", here.url()), &plan, Options::default()).await;
    assert_eq!(told.reasons(), BTreeMap::new());
    let (here, there) = (here.ledger(), there.ledger());
    assert_eq!(told.expected(), here.requests() + there.requests());
    assert_eq!((here.connections, there.connections), (1, 1));
    assert!(here.heads[0].starts_with("POST /api/a "));
    assert!(there.heads[0].starts_with("POST /b?c=1 "));
    assert!(there.heads[1].starts_with("POST / "));
}

/// Sends connections for one address to another, or refuses them.
#[derive(Debug)]
struct Detour {
    from: SocketAddr,
    to: Option<SocketAddr>,
}

impl Connector for Detour {
    fn endpoint(&self, address: SocketAddr) -> Option<Endpoint> {
        assert_eq!(address, self.from);
        self.to.map(|address| Endpoint {
            address,
            name: Some(Arc::from("pod-1")),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_decides_where_connections_go() {
    let server = Server::start(|_, _| Act::Created).await;
    let service: SocketAddr = "127.99.64.1:80".parse().unwrap();
    let mut plan = plan(2, SHORT);
    plan.journeys[0].think_time = Duration::from_millis(30);
    let told = |to| {
        let connector = Arc::new(Detour { from: service, to });
        let options = Options {
            connector: Some(connector),
            ..Options::default()
        };
        run("http://127.99.64.1", &plan, options)
    };
    let served = told(Some(server.address)).await;
    assert!(served.reasons().is_empty());
    assert_eq!(served.expected(), server.ledger().requests());
    assert!(served.expected() >= 2);
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = told(Some(refusing.local_addr().unwrap())).await;
    let reasons: Vec<_> = refused.reasons().into_keys().collect();
    assert_eq!(reasons, [Reason::ConnectRefused]);
    let endpoint = refused.failed[0].endpoint.as_deref();
    assert_eq!(endpoint, Some("pod-1"), "who refused is known");
    let refused = told(None).await;
    let reasons: Vec<_> = refused.reasons().into_keys().collect();
    assert_eq!(reasons, [Reason::ConnectRefused]);
    assert_eq!(refused.failed[0].detail, "the service has no endpoint");
    assert_eq!(refused.failed[0].endpoint, None);
}
