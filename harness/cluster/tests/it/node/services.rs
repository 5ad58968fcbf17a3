//! Connections through a service's address.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::stage::{
    Connection, DEADLINE, Stage, deployment, env, http_probe, is_ready, pod, service,
};

/// Between two attempts of a client that keeps trying.
const RETRY: std::time::Duration = std::time::Duration::from_millis(50);

async fn create_service(stage: &Stage) -> SocketAddr {
    let created: Service = stage.create(service("app")).await;
    let address = created.spec.unwrap().cluster_ip.unwrap();
    SocketAddr::new(address.parse().unwrap(), 8000)
}

/// Tries until the service answers.
async fn until_reached(service: SocketAddr) -> Connection {
    let reached = async {
        loop {
            match Connection::open(service).await {
                Ok(connection) => return connection,
                Err(_) => sleep(RETRY).await,
            }
        }
    };
    timeout(DEADLINE, reached)
        .await
        .expect("the service should be reached")
}

/// Tries until the service refuses connections.
async fn until_refused(service: SocketAddr) {
    let refused = async {
        loop {
            match Connection::open(service).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
                Ok(_) | Err(_) => sleep(RETRY).await,
            }
        }
    };
    timeout(DEADLINE, refused)
        .await
        .expect("the service should refuse connections");
}

#[tokio::test]
async fn a_service_without_endpoints_refuses_connections() {
    let stage = Stage::new().await;
    let service = create_service(&stage).await;
    let refused = Connection::open(service).await.err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let unready = json!({"readinessProbe": http_probe("/ready"), "env": env(&[("READY", "off")])});
    stage.create::<Pod>(pod("app", &unready, &json!({}))).await;
    stage.event("app", "Unhealthy").await;
    let refused = Connection::open(service).await.err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    stage.shutdown().await;
}

#[tokio::test]
async fn an_established_connection_outlives_the_endpoint() {
    let stage = Stage::new().await;
    let service = create_service(&stage).await;
    let draining = json!({
        "env": env(&[("ON_SIGTERM", "ignore")]),
        "readinessProbe": http_probe("/ready"),
    });
    stage.create::<Pod>(pod("app", &draining, &json!({}))).await;
    let ready = stage.until("app", is_ready()).await;
    let mut connection = until_reached(service).await;
    assert_eq!(connection.ask("GET /").await.unwrap(), "app");
    super::stage::ask(super::stage::address(&ready), "POST /ready/off")
        .await
        .unwrap();
    until_refused(service).await;
    assert_eq!(connection.ask("GET /").await.unwrap(), "app");
    stage.shutdown().await;
}

#[tokio::test]
async fn a_pod_that_terminates_serves_while_there_is_no_other() {
    let stage = Stage::new().await;
    let service = create_service(&stage).await;
    let draining = json!({
        "env": env(&[("ON_SIGTERM", "exit")]),
        "readinessProbe": http_probe("/ready"),
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
    });
    stage.create::<Pod>(pod("app", &draining, &json!({}))).await;
    stage.until("app", is_ready()).await;
    drop(until_reached(service).await);
    stage
        .api::<Pod>()
        .delete("app", &DeleteParams::default())
        .await
        .unwrap();
    stage.event("app", "Killing").await;
    // Longer than the proxy takes to notice, and shorter than the hook.
    sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(
        until_reached(service).await.ask("GET /").await.unwrap(),
        "app"
    );
    until_refused(service).await;
    stage.shutdown().await;
}

#[tokio::test]
async fn connections_are_spread_over_the_replicas() {
    let stage = Stage::new().await;
    let service = create_service(&stage).await;
    stage
        .create::<Deployment>(deployment(
            "app",
            4,
            &json!({"readinessProbe": http_probe("/ready")}),
        ))
        .await;
    let available = |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.available_replicas == Some(4))
    };
    stage.until("app", available).await;
    let spread = async {
        loop {
            let counts = counts_of(service, 400).await;
            if counts.len() == 4 {
                return counts;
            }
        }
    };
    let counts = timeout(DEADLINE, spread)
        .await
        .expect("all four pods should be reached");
    // Each is expected to get 100; fewer than 50 or more than 150 is 5.8 standard deviations away.
    assert!(
        counts.values().all(|count| (50..=150).contains(count)),
        "{counts:?}"
    );
    let none = json!({"spec": {"replicas": 0}});
    let parameters = PatchParams::default();
    stage
        .api::<Deployment>()
        .patch("app", &parameters, &Patch::Merge(none))
        .await
        .unwrap();
    stage.shutdown().await;
}

/// Which pod answered how many of `connections` new connections.
async fn counts_of(service: SocketAddr, connections: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..connections {
        let pod = until_reached(service).await.ask("GET /").await.unwrap();
        *counts.entry(pod).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn who_still_sends_to_a_pod_that_is_gone_gets_no_answer() {
    let stage = Stage::new().await;
    let listening = json!({
        "ports": [{"containerPort": 8080}],
        "readinessProbe": http_probe("/ready"),
        "env": env(&[("ON_SIGTERM", "exit")]),
    });
    stage
        .create::<Pod>(pod("app", &listening, &json!({})))
        .await;
    let address = super::stage::address(&stage.until("app", is_ready()).await);
    stage.delete_pod("app").await;
    let unanswered = async {
        loop {
            match timeout(RETRY, Connection::open(address)).await {
                Err(_elapsed) => return,
                // Refused until the address is given up.
                Ok(_) => sleep(RETRY).await,
            }
        }
    };
    timeout(DEADLINE, unanswered)
        .await
        .expect("attempts to connect should last");
    stage.shutdown().await;
}
