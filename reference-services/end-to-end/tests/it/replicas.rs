//! More and fewer replicas on the same data while orders come in.

use std::collections::BTreeSet;
use std::time::Duration;

use test_servers::{Kind, Server};

use end_to_end::customers::Customers;
use end_to_end::system::{Part, System};

#[tokio::test(flavor = "multi_thread")]
async fn one_then_three_then_one_store_deliver_every_order_once() {
    let Some(mut system) = System::new().await else {
        return;
    };
    let server = tokio::task::spawn_blocking(|| Server::start(Kind::MariaDb));
    let Some(server) = server.await.unwrap() else {
        return;
    };
    system.set(Part::Store, "DATABASE_URL", &server.new_database());
    // The test is about stores: no machine is so slow that app gives a payment up.
    system.set(Part::App, "PAY_TIMEOUT", "8s");
    for part in Part::ALL {
        system.start(part).await;
    }
    let entry = [system.url(Part::App, "/orders")];
    let customers = Customers::start(&system.client, &entry, 4);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(system.replica(Part::Store).await.0);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for mut replica in replicas {
        replica.kill().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let story = customers.stop().await;
    assert!(story.refused.is_empty(), "{story:?}");
    let report = system.until_settled().await;
    assert_eq!(report["entries"]["orders"], story.accepted.len());
    assert_eq!(report["entries"]["deliveries"], story.accepted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apps_and_two_pays_share_their_books_and_die_in_turn() {
    let Some(mut system) = System::running().await else {
        return;
    };
    let (mut second_pay, url) = system.replica(Part::Pay).await;
    // Each app has its orders paid by a pay of its own.
    let first_pay = system.url(Part::Pay, "");
    system.set(Part::App, "PAY_URL", &url);
    let (mut second_app, url) = system.replica(Part::App).await;
    system.set(Part::App, "PAY_URL", &first_pay);
    let entries = [system.url(Part::App, "/orders"), format!("{url}/orders")];
    let customers = Customers::start(&system.client, &entries, 2);
    let some_orders = || tokio::time::sleep(Duration::from_millis(700));
    some_orders().await;
    for part in [Part::Pay, Part::App] {
        system.kill(part).await;
        some_orders().await;
        system.start(part).await;
        some_orders().await;
    }
    for process in [&mut second_pay, &mut second_app] {
        process.kill().await.unwrap();
        some_orders().await;
    }
    let story = customers.stop().await;
    system.until_settled().await;
    let orders = system.read(Part::App, "/orders").await;
    let kept = orders.as_array().unwrap().iter();
    let kept: BTreeSet<&str> = kept.filter_map(|order| order["id"].as_str()).collect();
    let is_kept = |id: &String| kept.contains(id.as_str());
    assert!(story.accepted.iter().all(is_kept), "{story:?}");
    assert!(!story.accepted.is_empty());
}
