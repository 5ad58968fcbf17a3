//! What the observer tells of a Service's endpoints and its pods' breakers.

use holdfast_core::event::{Event, Observation};
use holdfast_engine::{Events, Observer};
use holdfast_faults::KubeObserver;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cluster::{NAMESPACE, TestCluster, in_time};

/// Answers each connection with a pod's metrics.
async fn serve_metrics(listener: TcpListener) {
    let body = "circuit_breaker_state{name=\"pay\",state=\"open\"} 1\n";
    let response = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        if connection.read(&mut request).await.is_ok() {
            // A client that has gone away needs no answer.
            drop(connection.write_all(response.as_bytes()).await);
        }
    }
}

fn endpoints(ready: u32, total: u32) -> Observation {
    Observation::Endpoints {
        service: "app".to_owned(),
        ready,
        total,
    }
}

fn open(pod: &str) -> Observation {
    Observation::Breaker {
        pod: pod.to_owned(),
        breaker: "pay".to_owned(),
        state: "open".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_endpoints_and_breakers_and_forgets_pods_that_are_gone() {
    let test = TestCluster::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let metrics = tokio::spawn(serve_metrics(listener));

    let (sender, mut events) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let observer = KubeObserver::new(test.client.clone(), NAMESPACE, vec!["app".to_owned()]);
    let observing = tokio::spawn({
        let stop = stop.clone();
        async move { observer.run(Events::new(sender), stop).await }
    });
    let mut next = async || match in_time(events.recv()).await {
        Some(Event::Observed(observation)) => observation,
        other => panic!("expected an observation, got {other:?}"),
    };

    let endpoint = json!({
        "addresses": ["127.0.0.1"],
        "conditions": {"ready": true},
        "targetRef": {"kind": "Pod", "name": "app-1"},
    });
    assert_eq!(next().await, endpoints(0, 0));
    test.create::<EndpointSlice>(json!({
        "metadata": {"name": "app-x", "labels": {"kubernetes.io/service-name": "app"}},
        "addressType": "IPv4",
        "endpoints": [endpoint],
        "ports": [{"name": "http", "port": port}],
    }))
    .await;
    assert_eq!(next().await, endpoints(1, 1));
    assert_eq!(next().await, open("app-1"));

    let mut other = endpoint.clone();
    other["targetRef"]["name"] = "app-2".into();
    let slices = test.api::<EndpointSlice>();
    let replaced = Patch::Merge(json!({"endpoints": [other]}));
    let parameters = PatchParams::default();
    slices.patch("app-x", &parameters, &replaced).await.unwrap();
    assert_eq!(next().await, open("app-2"));

    // The first pod's breaker is told anew, because it was forgotten.
    let back = Patch::Merge(json!({"endpoints": [endpoint]}));
    slices.patch("app-x", &parameters, &back).await.unwrap();
    assert_eq!(next().await, open("app-1"));

    slices
        .delete("app-x", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(next().await, endpoints(0, 0));
    stop.cancel();
    in_time(observing).await.unwrap();
    metrics.abort();
    test.shutdown().await;
}

/// In a process of its own, because the environment belongs to all tests of this one.
#[test]
fn asks_pods_directly_whatever_the_proxy_variables_say() {
    let nobody_listens = "http://127.0.0.1:1";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .arg("--exact")
        .arg("observer::tells_endpoints_and_breakers_and_forgets_pods_that_are_gone")
        .env("ALL_PROXY", nobody_listens)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}
