//! Ports which Services gain and give back.

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::cluster::{DEADLINE, TestCluster, typed};

fn service(port: u16) -> Service {
    typed(json!({
        "metadata": {"name": "web"},
        "spec": {"ports": [{"port": port}]},
    }))
}

/// A port that was free at this moment.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

fn address(service: Service) -> SocketAddr {
    let spec = service.spec.unwrap();
    let port = spec.ports.unwrap()[0].port;
    let ip = spec.cluster_ip.unwrap();
    format!("{ip}:{port}").parse().unwrap()
}

async fn create(services: &Api<Service>, port: u16) -> SocketAddr {
    let created = services
        .create(&PostParams::default(), &service(port))
        .await;
    address(created.unwrap())
}

#[tokio::test]
async fn an_added_port_is_checked_like_a_first_one() {
    let test = TestCluster::start().await;
    let services: Api<Service> = test.api();
    let first = create(&services, free_port().await).await;
    let taken = TcpListener::bind((first.ip(), 0)).await.unwrap();
    let second = taken.local_addr().unwrap().port();
    let ports = json!([{"name": "a", "port": first.port()}, {"name": "b", "port": second}]);
    let patch = Patch::Merge(json!({"spec": {"ports": ports}}));
    let add = async || services.patch("web", &PatchParams::default(), &patch).await;
    let Err(kube::Error::Api(refused)) = add().await else {
        panic!("the port is in use");
    };
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.details.unwrap().causes[0].field,
        "spec.ports[1].port"
    );
    drop(taken);
    add().await.unwrap();
    test.cluster.shutdown().await;
}

/// The proxy learns of a deletion a moment later, and listens until then.
#[tokio::test]
async fn a_service_can_be_created_again_at_once() {
    let test = TestCluster::start().await;
    let services: Api<Service> = test.api();
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slice: EndpointSlice = typed(json!({
        "metadata": {"name": "web-own", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": backend.local_addr().unwrap().port()}],
        "endpoints": [{"addresses": ["127.0.0.1"]}],
    }));
    let slices: Api<EndpointSlice> = test.api();
    slices.create(&PostParams::default(), &slice).await.unwrap();
    let first = create(&services, free_port().await).await;
    let reached = async {
        while TcpStream::connect(first).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, reached).await.unwrap();
    services
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    // By name: unasked, an address that was given back is the last to be given again.
    let again = json!({
        "metadata": {"name": "web"},
        "spec": {"clusterIP": first.ip(), "ports": [{"port": first.port()}]},
    });
    services
        .create(&PostParams::default(), &typed(again))
        .await
        .unwrap();
    test.cluster.shutdown().await;
}
