//! app when the server of its database is away, or dies.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;
use service_kit::events::memory::MemoryBus;
use test_servers::{Kind, Server};
use tokio::sync::watch;

use crate::rig::{app_on, get, header, json_of, order};
use crate::scripted_pay::{Script, ScriptedPay};

const PAID: Script = Script::Answer(StatusCode::CREATED);

#[tokio::test]
async fn orders_are_refused_while_the_database_is_away_and_taken_when_it_is_back() {
    let Some(mut server) = Server::start(Kind::Postgres) else {
        return;
    };
    let database = server.new_database();
    server.kill();
    let pay = ScriptedPay::start(PAID).await;
    let bus = Arc::new(MemoryBus::new());
    let url = pay.url();
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("DB_CONNECT_TIMEOUT", "50ms"),
    ];
    let app = app_on(&bus, &url, env).await;
    let refused = order(&app).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&refused, "x-refusal-reason"), "connect");
    server.start_again();
    assert_eq!(order(&app).await.status(), StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_killed_again_and_again_loses_no_order_that_was_acknowledged() {
    let Some(mut server) = Server::start(Kind::Postgres) else {
        return;
    };
    let database = server.new_database();
    let pay = ScriptedPay::start(PAID).await;
    let bus = Arc::new(MemoryBus::new());
    let url = pay.url();
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("DB_POOL", "4"),
        ("ORDER_INTENT_LIMIT", "100ms"),
    ];
    let app = app_on(&bus, &url, env).await;
    let accepted = watch::Sender::new(BTreeSet::new());
    let customers: Vec<_> = (0..4)
        .map(|_| {
            let (app, accepted) = (app.clone(), accepted.clone());
            tokio::spawn(async move {
                while accepted.borrow().len() < 200 {
                    let response = order(&app).await;
                    if response.status() == StatusCode::CREATED {
                        let id = json_of(response).await["id"].as_str().unwrap().to_owned();
                        accepted.send_modify(|accepted| _ = accepted.insert(id));
                    }
                }
            })
        })
        .collect();
    for kill_at in [40, 80, 120, 160] {
        let mut accepted = accepted.subscribe();
        accepted
            .wait_for(|accepted| accepted.len() >= kill_at)
            .await
            .unwrap();
        server.kill();
        server.start_again();
    }
    for customer in customers {
        customer.await.unwrap();
    }
    let listed = json_of(get(&app, "/orders").await).await;
    let id_of = |order: &Value| order["id"].as_str().unwrap().to_owned();
    let listed: BTreeSet<_> = listed.as_array().unwrap().iter().map(id_of).collect();
    assert!(accepted.borrow().is_subset(&listed));
    // Every payment that was taken is in the end told to be kept or to be given back.
    let asked: BTreeSet<_> = pay.asked(0).await.into_iter().collect();
    let told = async {
        loop {
            let events = bus.events("orders");
            let of = |kind| {
                let events = events.iter().filter(move |event| event.kind == kind);
                events
                    .map(|event| event.key.clone())
                    .collect::<BTreeSet<_>>()
            };
            let (paid, abandoned) = (of("OrderPaid"), of("OrderAbandoned"));
            // Orders that pay never heard of are abandoned, too.
            if asked.is_subset(&(&paid | &abandoned)) {
                break (paid, abandoned);
            }
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    let (paid, abandoned) = tokio::time::timeout(patience, told).await.unwrap();
    assert_eq!(paid, listed);
    assert!(paid.is_disjoint(&abandoned));
    assert_eq!(&paid | &abandoned, &asked | &abandoned);
}
