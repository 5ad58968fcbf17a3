//! The contracts of app: with pay, which it calls, with store, whose events it reads, and with those
//! who read its own events or ask it for its orders, and send it others.

use std::sync::Arc;

use app::adapters::events::{Deliveries, subscription};
use app::adapters::pay::PayClient;
use app::config::Config;
use app::domain::{Address, Item, Order, Quantity, Status, Step};
use app::ports::{Cause, Connection as _, Intent, Origin, PaymentError, Payments as _};
use app::service::OrderService;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use service_kit::chance::Chance;
use service_kit::env::Env;
use service_kit::events::EventBus as _;
use service_kit::events::memory::MemoryBus;
use service_kit::events::wire::Record;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::doubles::{Always, InMemoryOrders};
use crate::events::{delivery, id_of_order, tell, told};
use crate::rig::{app_on, order, post, post_with};
use crate::scripted_pay::{Script, ScriptedPay};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What app makes of an answer of pay: the outcome, and whether it could tell its own share of the
/// time that the call took.
type Outcome = (Result<(), PaymentError>, bool);

fn outcome(meaning: &str) -> Outcome {
    match meaning {
        "the order is paid" => (Ok(()), true),
        "the payment is declined" => (Err(PaymentError::Declined), false),
        other => panic!("app knows no answer that means {other:?}"),
    }
}

/// The order that the examples are about.
fn example_order(id: &str) -> Order {
    Order {
        id: id.parse().unwrap(),
        item: Item::Tteokbokki,
        quantity: Quantity::new(3).unwrap(),
        address: None,
    }
}

/// Has an order paid by a service that gives `answer`. Returns what app sent, too.
async fn pay(answer: Response<String>, traceparent: Option<&str>) -> (Request<Bytes>, Outcome) {
    let (sender, mut sent) = mpsc::unbounded_channel();
    let router = Router::new().fallback(move |request: Request<Body>| {
        let (sender, answer) = (sender.clone(), answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            sender.send(Request::from_parts(parts, body)).unwrap();
            answer
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let config = Config::from_env(Env::of_pairs([("PAY_URL", &*url)])).unwrap();
    let mut registry = Registry::default();
    let client = PayClient::start(&config.pay, &mut registry).await.unwrap();
    let cause = Cause {
        origin: Origin::Request {
            id: "request-7".to_owned(),
        },
        traceparent: traceparent.map(str::to_owned),
    };
    let order = example_order("9f86d081884c7d659a2feaa0c55ad015");
    let result = client.pay(&order, &cause).await;
    server.abort();
    let mut metrics = String::new();
    encode(&mut metrics, &registry).unwrap();
    let is_measured = metrics.contains("pay_call_overhead_seconds_count 1");
    (sent.recv().await.unwrap(), (result, is_measured))
}

#[tokio::test]
async fn app_sends_pay_what_was_agreed_and_understands_its_answers_and_no_others() {
    for exchange in contracts::between("app", "pay").exchanges {
        for terms in exchange.answers {
            let expected = outcome(&terms.meaning);
            for answer in terms.examples() {
                for traceparent in [None, Some(TRACEPARENT)] {
                    let (sent, outcome) = pay(answer.clone(), traceparent).await;
                    assert_eq!(exchange.request.check(&sent), []);
                    // A span of its own, in the same trace.
                    let passed_on = sent.headers().get("traceparent").unwrap();
                    let (trace, span) = passed_on.to_str().unwrap().split_at(36);
                    if let Some((its_trace, its_span)) = traceparent.map(|it| it.split_at(36)) {
                        assert_eq!(trace, its_trace);
                        assert_ne!(span, its_span);
                    }
                    assert_eq!(outcome, expected, "{answer:?}");
                }
            }
            for (what, answer) in terms.broken() {
                assert_ne!(pay(answer, None).await.1, expected, "{what}");
            }
        }
    }
}

/// The status of an order that `record` is about, after app has heard it.
async fn heard(kind: &str, record: &Record) -> Status {
    let (mut orders, handler) = app();
    let event = record.read().unwrap();
    let order = example_order(&event.key);
    let cause = Cause {
        origin: Origin::Clock,
        traceparent: None,
    };
    let intent = Intent {
        order: order.clone(),
        key: None,
        begun_at_ms: 0,
        traceparent: None,
    };
    orders.insert(&intent).await.unwrap();
    orders.commit(&order, &cause).await.unwrap();
    if kind == "CancellationRefused" {
        let asked = orders.take(order.id, Step::Cancel, &cause).await.unwrap();
        assert_eq!(asked.unwrap().after, Status::Cancelling);
    }
    contracts::hear(record, &handler).await.unwrap();
    orders.find(order.id).await.unwrap().unwrap().status
}

fn app() -> (InMemoryOrders, Deliveries) {
    let orders = InMemoryOrders::default();
    let service = OrderService::new(
        Arc::new(orders.clone()),
        Arc::new(Always(Ok(()))),
        Chance::new(None),
        TaskTracker::new(),
    );
    (orders, Deliveries(service))
}

#[tokio::test]
async fn app_understands_all_that_store_may_tell_and_needs_all_that_it_asks_for() {
    let contract = contracts::between("app", "store");
    assert!(subscription().topics.contains(&contract.events().topic));
    for terms in contract.events().terms() {
        let expected = match terms.kind.as_str() {
            "OrderAccepted" => Status::Accepted,
            "CookingStarted" | "CancellationRefused" => Status::Cooking,
            "RiderAssigned" => Status::WithRider,
            "OrderDelivered" => Status::Delivered,
            "DeliveryCancelled" => Status::Cancelled,
            other => panic!("app does not read {other}"),
        };
        for record in terms.examples() {
            let status = heard(&terms.kind, &record).await;
            assert_eq!(status, expected, "{}", terms.kind);
        }
        let (_, handler) = app();
        assert_eq!(terms.needless(&handler).await, [""; 0]);
    }
}

/// Has app tell of an order with the longest address and of one without, which is cancelled.
async fn orders_that_are_paid(bus: &Arc<MemoryBus>) {
    let pay = ScriptedPay::start(Script::Answer(StatusCode::CREATED)).await;
    let app = app_on(bus, &pay.url(), [("BODY_LIMIT", "100000")]).await;
    let address = "x".repeat(Address::LONGEST);
    let body = serde_json::json!({"item": "피자", "quantity": 2, "address": address});
    let headers = [("traceparent", TRACEPARENT)];
    post_with(&app, "/orders", &body, &headers).await;
    let id = id_of_order(&app).await;
    let path = format!("/orders/{id}/cancellation");
    post(&app, &path, &serde_json::json!({})).await;
    let of_store = contracts::between("app", "store");
    let mut cancelled = of_store.events().event("DeliveryCancelled");
    cancelled.payload = cancelled.payload.replace(&cancelled.key, &id);
    cancelled.key = id;
    let cancelled = cancelled.to(&of_store.events().topic);
    bus.publish(&[cancelled]).await.unwrap();
    told(bus, 4).await;
}

#[tokio::test]
async fn what_app_tells_is_what_others_need() {
    let bus = Arc::new(MemoryBus::new());
    orders_that_are_paid(&bus).await;
    let pay = ScriptedPay::start(Script::Answer(StatusCode::INTERNAL_SERVER_ERROR)).await;
    let app = app_on(&bus, &pay.url(), []).await;
    order(&app).await;
    told(&bus, 5).await;
    for events in contracts::events_of("app") {
        assert_eq!(events.topic, "orders");
        assert_eq!(events.check(&bus.records("orders")), []);
    }
}

/// app, and things as the contract has them.
async fn app_where(given: &str) -> Router {
    let pay = ScriptedPay::start(Script::Answer(StatusCode::CREATED)).await;
    let bus = Arc::new(MemoryBus::new());
    let app = app_on(&bus, &pay.url(), []).await;
    let id = id_of_order(&app).await;
    match given {
        "nothing is known of the order" | "an order was paid" => {}
        "an order was delivered" => tell(&bus, [delivery("OrderDelivered", &id)]).await,
        "an order was cancelled" => tell(&bus, [delivery("DeliveryCancelled", &id)]).await,
        other => panic!("app does not know how to have it that {other}"),
    }
    app
}

#[tokio::test]
async fn app_answers_what_others_need() {
    for exchange in contracts::exchanges_of("app") {
        for terms in exchange.answers {
            let request = exchange.request.example().map(Body::from);
            let app = app_where(&terms.given).await;
            let (parts, body) = app.oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let breaches = terms.check(&Response::from_parts(parts, body));
            assert_eq!(breaches, [], "{}", terms.given);
        }
    }
}
