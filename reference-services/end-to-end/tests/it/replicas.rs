//! Store with more and fewer replicas while orders come in.

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
    for part in Part::ALL {
        system.start(part).await;
    }
    let customers = Customers::start(&system.client, &system.url(Part::App, "/orders"), 4);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(system.replica(Part::Store).await);
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
