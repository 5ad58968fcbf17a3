//! pay when the server of its database is away, or dies.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;
use service_kit::events::EventBus as _;
use service_kit::events::memory::MemoryBus;
use test_servers::{Kind, Server};
use tokio::sync::watch;

use crate::http::{build, get, given_up, header, json_of, post, refunds};

#[tokio::test]
async fn payments_are_refused_while_the_database_is_away_and_taken_when_it_is_back() {
    let Some(mut server) = Server::start(Kind::Postgres) else {
        return;
    };
    let database = server.new_database();
    server.kill();
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("DB_CONNECT_TIMEOUT", "50ms"),
    ];
    let pay = build(None, env).await;
    let body = json!({"orderId": "42"});
    let refused = post(&pay, &body).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&refused, "x-refusal-reason"), "connect");
    server.start_again();
    assert_eq!(post(&pay, &body).await.status(), StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_killed_again_and_again_loses_no_payment_and_no_refund() {
    let Some(mut server) = Server::start(Kind::Postgres) else {
        return;
    };
    let database = server.new_database();
    let bus = Arc::new(MemoryBus::new());
    let env = [("DATABASE_URL", database.as_str()), ("DB_POOL", "4")];
    let pay = build(Some(Arc::<MemoryBus>::clone(&bus)), env).await;
    let taken = watch::Sender::new(BTreeSet::new());
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (pay, taken, bus) = (pay.clone(), taken.clone(), Arc::clone(&bus));
            tokio::spawn(async move {
                for order in 0..30 {
                    let id = format!("{client}-{order}");
                    let body = json!({"orderId": id, "amount": 18_000});
                    // As the caller of a payment service does, until it knows.
                    while !post(&pay, &body).await.status().is_success() {}
                    let cancelled = given_up("OrderCancelled", &id).to("orders");
                    bus.publish(&[cancelled]).await.unwrap();
                    taken.send_modify(|taken| _ = taken.insert(id));
                }
            })
        })
        .collect();
    for kill_at in [20, 50, 80] {
        let mut taken = taken.subscribe();
        taken
            .wait_for(|taken| taken.len() >= kill_at)
            .await
            .unwrap();
        server.kill();
        server.start_again();
    }
    for client in clients {
        client.await.unwrap();
    }
    let refunds = refunds(&bus, 120);
    let refunds = tokio::time::timeout(std::time::Duration::from_secs(60), refunds);
    let refunded: BTreeSet<_> = refunds
        .await
        .unwrap()
        .into_iter()
        .map(|it| it.key)
        .collect();
    assert_eq!(refunded, *taken.borrow());
    let payments = json_of(get(&pay, "/payments").await).await;
    let payments = payments.as_array().unwrap();
    assert_eq!(payments.len(), 120);
    assert!(
        payments
            .iter()
            .all(|payment| payment["status"] == "refunded")
    );
}
