//! The contracts of auditor with those whose books it reads.

use auditor::adapters::services::{Addresses, HttpServices};
use auditor::books::{Books, Coupon, Delivery, Notification, Order, Payment, Stage};
use auditor::ports::Services as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::http::{serve, service};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What auditor makes of an answer: where it asked for more, and the books, if it could read them.
type Outcome = (Vec<String>, Option<Books>);

/// The outcome that an answer must have which means this and has this one entry.
fn outcome(meaning: &str, answer: &Response<String>) -> Outcome {
    let entries: Value = serde_json::from_str(answer.body()).unwrap();
    let entry = &entries[0];
    let text = |name: &str| entry[name].as_str().unwrap().to_owned();
    let amount = || u32::try_from(entry["amount"].as_u64().unwrap()).unwrap();
    let order = |stage| {
        let orders = vec![Order {
            id: text("id"),
            amount: amount(),
            stage,
        }];
        Books {
            orders_before: orders.clone(),
            orders_after: orders,
            ..Books::default()
        }
    };
    let payment = |is_refunded| Books {
        payments: vec![Payment {
            order_id: text("orderId"),
            amount: Some(amount()),
            is_refunded,
        }],
        ..Books::default()
    };
    let delivery = |stage| Books {
        deliveries: Some(vec![Delivery {
            order_id: text("orderId"),
            stage,
        }]),
        ..Books::default()
    };
    let coupon = || Books {
        coupons: Some(vec![Coupon {
            order_id: text("orderId"),
        }]),
        ..Books::default()
    };
    let notification = || Books {
        notifications: Some(vec![Notification {
            order_id: text("orderId"),
            kind: text("type"),
        }]),
        ..Books::default()
    };
    let (more, books) = match meaning {
        "the order is under way" => (vec![], order(Stage::UnderWay)),
        "the order is delivered" => (vec![], order(Stage::Delivered)),
        "the order is cancelled" => (vec![], order(Stage::Cancelled)),
        "there is a payment" => (vec![], payment(false)),
        "the payment is given back" => (vec![], payment(true)),
        "the delivery is under way" => (vec![], delivery(Stage::UnderWay)),
        "the delivery is made" => (vec![], delivery(Stage::Delivered)),
        "the delivery is cancelled" => (vec![], delivery(Stage::Cancelled)),
        "there is a coupon for the order" => (vec![], coupon()),
        "there is a notification of it" => (vec![], notification()),
        "there are more notifications in another part" => {
            let link = answer.headers()[header::LINK].to_str().unwrap();
            let (next, _) = link.trim_start_matches('<').split_once('>').unwrap();
            (vec![next.to_owned()], notification())
        }
        other => panic!("auditor knows no answer that means {other:?}"),
    };
    (more, Some(books))
}

/// Has auditor read the books where `provider` gives `answer`, and an empty list when it is asked for
/// more. Returns what auditor sent, too.
async fn read(provider: &str, answer: Response<String>) -> (Vec<Request<Bytes>>, Outcome) {
    let (sender, mut received) = mpsc::unbounded_channel();
    let router = Router::new().fallback(move |request: Request<Body>| {
        let (sender, answer) = (sender.clone(), answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let asks_for_more = parts.uri.query().is_some();
            let body = body.collect().await.unwrap().to_bytes();
            sender.send(Request::from_parts(parts, body)).unwrap();
            if asks_for_more {
                Response::new("[]".to_owned())
            } else {
                answer
            }
        }
    });
    let url = serve(router).await;
    let empty = serde_json::json!([]);
    let mut addresses = Addresses {
        app: service("/orders", empty.clone()).await,
        pay: service("/payments", empty).await,
        store: None,
        customer: None,
        marketing: None,
    };
    match provider {
        "app" => addresses.app = url,
        "pay" => addresses.pay = url,
        "store" => addresses.store = Some(url),
        "customer" => addresses.customer = Some(url),
        "marketing" => addresses.marketing = Some(url),
        other => panic!("auditor does not read the book of {other}"),
    }
    let services = HttpServices::new(addresses).unwrap();
    let books = services.read(Some(TRACEPARENT)).await.ok();
    let mut sent = Vec::new();
    while let Ok(request) = received.try_recv() {
        sent.push(request);
    }
    let (for_more, sent): (Vec<_>, Vec<_>) =
        sent.into_iter().partition(|it| it.uri().query().is_some());
    let for_more = for_more.iter().map(|it| it.uri().to_string()).collect();
    (sent, (for_more, books))
}

#[tokio::test]
async fn auditor_asks_for_what_was_agreed_and_understands_the_answers_and_no_others() {
    for contract in contracts::of_consumer("auditor") {
        for exchange in contract.exchanges {
            for terms in exchange.answers {
                for answer in terms.examples() {
                    let expected = outcome(&terms.meaning, &answer);
                    let (sent, outcome) = read(&contract.provider, answer.clone()).await;
                    assert!(!sent.is_empty());
                    for request in sent {
                        assert_eq!(exchange.request.check(&request), []);
                    }
                    assert_eq!(outcome, expected, "{answer:?}");
                }
                let expected = outcome(&terms.meaning, &terms.examples()[0]);
                for (what, answer) in terms.broken() {
                    let (_, outcome) = read(&contract.provider, answer).await;
                    assert_ne!(outcome, expected, "{}: {what}", contract.provider);
                }
            }
        }
    }
}
