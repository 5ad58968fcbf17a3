//! Pods that live: how they start, what they are told, how they are watched.

use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, LogParams, Patch, PatchParams};
use kube::runtime::wait::Condition as _;
use serde_json::json;

use super::stage::{
    Stage, address, ask, container, deployment, env, http_probe, is_ready, is_unready, phase, pod,
    service,
};

#[tokio::test]
async fn a_deployment_becomes_ready_and_its_pods_know_their_surroundings() {
    let stage = Stage::new().await;
    let created: Service = stage.create(service("app")).await;
    let cluster_ip = created.spec.unwrap().cluster_ip.unwrap();
    stage
        .create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"COLOUR": "blue"}}))
        .await;
    let container = json!({
        "readinessProbe": http_probe("/ready"),
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "URL", "value": "http://$(APP_SERVICE_HOST):$(APP_SERVICE_PORT)"},
        ],
    });
    stage
        .create::<Deployment>(deployment("app", 2, &container))
        .await;
    stage
        .until("app", |deployment: Option<&Deployment>| {
            let status = deployment.and_then(|deployment| deployment.status.as_ref());
            status.is_some_and(|status| status.available_replicas == Some(2))
        })
        .await;
    let pods = stage
        .api::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    assert_eq!(pods.len(), 2);
    assert_ne!(address(&pods[0]), address(&pods[1]));
    for pod in pods {
        let name = pod.metadata.name.clone().unwrap();
        let variable = async |name: &str| {
            ask(address(&pod), &format!("GET /env/{name}"))
                .await
                .unwrap()
        };
        assert_eq!(variable("ME").await, name);
        assert_eq!(variable("HOSTNAME").await, name);
        assert_eq!(variable("COLOUR").await, "blue");
        assert_eq!(variable("URL").await, format!("http://{cluster_ip}:8000"));
        assert_eq!(variable("BIND_ADDR").await, address(&pod).ip().to_string());
        assert_eq!(
            variable("CARGO_MANIFEST_DIR").await,
            "",
            "the user's environment stays outside"
        );
    }
    stage.shutdown().await;
}

#[tokio::test]
async fn a_failing_readiness_probe_takes_the_pod_out_of_its_service() {
    let stage = Stage::new().await;
    stage.create::<Service>(service("app")).await;
    let probed = json!({"readinessProbe": http_probe("/ready")});
    stage.create::<Pod>(pod("app", &probed, &json!({}))).await;
    let ready = stage.until("app", is_ready()).await;
    assert_eq!(ready_endpoints(&stage).await, 1);
    ask(address(&ready), "POST /ready/off").await.unwrap();
    let unready = stage.until("app", is_unready()).await;
    assert_eq!(container(&unready).unwrap().restart_count, 0);
    stage.event("app", "Unhealthy").await;
    let slice = stage
        .api::<EndpointSlice>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let name = slice[0].metadata.name.clone().unwrap();
    stage
        .until(&name, |slice: Option<&EndpointSlice>| {
            slice.is_some_and(|slice| ready_in(slice) == 0)
        })
        .await;
    ask(address(&ready), "POST /ready/on").await.unwrap();
    stage.until("app", is_ready()).await;
    stage.shutdown().await;
}

async fn ready_endpoints(stage: &Stage) -> usize {
    let slices = stage
        .api::<EndpointSlice>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let name = slices[0].metadata.name.clone().unwrap();
    let slice = stage
        .until(&name, |slice: Option<&EndpointSlice>| {
            slice.is_some_and(|slice| ready_in(slice) > 0)
        })
        .await;
    ready_in(&slice)
}

fn ready_in(slice: &EndpointSlice) -> usize {
    let endpoints = slice.endpoints.iter();
    endpoints
        .filter(|endpoint| {
            endpoint
                .conditions
                .as_ref()
                .is_some_and(|conditions| conditions.ready == Some(true))
        })
        .count()
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_the_container_in_its_pod() {
    let stage = Stage::new().await;
    let probed =
        json!({"livenessProbe": http_probe("/live"), "env": env(&[("ON_SIGTERM", "exit")])});
    let created: Pod = stage.create(pod("app", &probed, &json!({}))).await;
    let ready = stage.until("app", is_ready()).await;
    stage.log_line("app", "listening").await;
    ask(address(&ready), "POST /live/off").await.unwrap();
    let restarted = stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| status.restart_count == 1 && status.ready)
        })
        .await;
    assert_eq!(restarted.metadata.uid, created.metadata.uid);
    assert_eq!(address(&restarted), address(&ready));
    assert_eq!(
        ready_since(&restarted),
        ready_since(&ready),
        "without a readiness probe it has been ready all the time"
    );
    stage.event("app", "Killing").await;
    let parameters = LogParams {
        previous: true,
        ..LogParams::default()
    };
    let before = stage.api::<Pod>().logs("app", &parameters).await.unwrap();
    assert!(before.contains("POST /live/off"), "{before}");
    stage.shutdown().await;
}

fn ready_since(pod: &Pod) -> Option<&Time> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let mut ready = conditions
        .iter()
        .filter(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready.next()?.last_transition_time.as_ref()
}

#[tokio::test]
async fn liveness_waits_for_the_startup_probe() {
    let stage = Stage::new().await;
    let slow = json!({
        "env": env(&[("BOOT_DELAY", "4")]),
        "startupProbe": {"httpGet": {"path": "/live", "port": 8080}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 5},
    });
    stage.create::<Pod>(pod("app", &slow, &json!({}))).await;
    let ready = stage.until("app", is_ready()).await;
    assert_eq!(container(&ready).unwrap().restart_count, 0);
    assert_eq!(container(&ready).unwrap().started, Some(true));
    stage.shutdown().await;
}

#[tokio::test]
async fn a_command_in_the_container_can_be_the_probe() {
    let stage = Stage::new().await;
    let probe = json!({"exec": {"command": ["sh", "-c", "kill -0 1 && test -e made-by-hook"]}, "periodSeconds": 1, "timeoutSeconds": 20});
    let probed = json!({
        "readinessProbe": probe,
        "lifecycle": {"postStart": {"exec": {"command": ["touch", "made-by-hook"]}}},
    });
    stage.create::<Pod>(pod("app", &probed, &json!({}))).await;
    stage.until("app", is_ready()).await;
    stage.shutdown().await;
}

#[tokio::test]
async fn init_containers_run_first_and_a_job_like_pod_succeeds() {
    let stage = Stage::new().await;
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "prepare", "image": "shell", "args": ["-c", "echo prepared > note"]}],
        "containers": [{"name": "c", "image": "shell", "args": ["-c", "cat note; echo done >&2"]}],
    });
    stage.create::<Pod>(pod("job", &json!({}), &spec)).await;
    stage
        .until("job", |pod: Option<&Pod>| {
            pod.is_some_and(|pod| phase(pod) == "Succeeded")
        })
        .await;
    let main_container = LogParams {
        container: Some("c".to_owned()),
        ..LogParams::default()
    };
    let log = stage
        .api::<Pod>()
        .logs("job", &main_container)
        .await
        .unwrap();
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["done", "prepared"]);
    stage.shutdown().await;
}

#[tokio::test]
async fn logs_can_be_followed_to_their_end() {
    let stage = Stage::new().await;
    let counting =
        json!({"image": "shell", "args": ["-c", "echo one; echo two; sleep 2; echo three"]});
    stage
        .create::<Pod>(pod("app", &counting, &json!({"restartPolicy": "Never"})))
        .await;
    stage
        .until("app", |pod: Option<&Pod>| {
            pod.is_some_and(|pod| phase(pod) != "Pending")
        })
        .await;
    let parameters = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let log = stage
        .api::<Pod>()
        .log_stream("app", &parameters)
        .await
        .unwrap();
    let lines: Vec<String> = futures::AsyncBufReadExt::lines(log)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(lines, ["one", "two", "three"]);
    let tail = LogParams {
        tail_lines: Some(1),
        ..LogParams::default()
    };
    assert_eq!(
        stage.api::<Pod>().logs("app", &tail).await.unwrap(),
        "three\n"
    );
    stage.shutdown().await;
}

/// Serves the gRPC health protocol at an address until it is dropped.
async fn grpc_health(listener: tokio::net::TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = http::Response::builder().header("content-type", "application/grpc");
            let mut answer = respond
                .send_response(head.body(()).unwrap(), false)
                .unwrap();
            let serving = bytes::Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]);
            answer.send_data(serving, false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            answer.send_trailers(trailers).unwrap();
        }
    }
}

#[tokio::test]
async fn a_grpc_server_can_be_asked_for_its_health() {
    let stage = Stage::new().await;
    let probing = json!({
        "image": "shell",
        "args": ["-c", "sleep 1000"],
        "readinessProbe": {"grpc": {"port": 50051}, "periodSeconds": 1, "timeoutSeconds": 5},
    });
    let running = |pod: Option<&Pod>| {
        let status = pod.and_then(container);
        status.is_some_and(|status| status.started == Some(true))
    };
    stage.create::<Pod>(pod("app", &probing, &json!({}))).await;
    let pod = stage.until("app", running).await;
    stage.event("app", "Unhealthy").await;
    // Every address of the machine is as good as the pod's own process.
    let address = (address(&pod).ip(), 50051);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let serving = tokio::spawn(grpc_health(listener));
    stage.until("app", is_ready()).await;
    serving.abort();
    stage.until("app", is_unready()).await;
    stage.shutdown().await;
}

#[tokio::test]
async fn a_probe_by_a_command_that_is_not_there_decides_nothing() {
    let stage = Stage::new().await;
    let probing = json!({
        "livenessProbe": {"exec": {"command": ["/no/such/program"]}, "periodSeconds": 1, "failureThreshold": 1},
    });
    stage.create::<Pod>(pod("app", &probing, &json!({}))).await;
    let repeated = |event: Option<&k8s_openapi::api::core::v1::Event>| {
        event.is_some_and(|event| event.count > Some(1))
    };
    let told = stage.event("app", "Unhealthy").await;
    assert!(told.message.unwrap().contains("Liveness probe errored"));
    let name = told.metadata.name.unwrap();
    stage.until(&name, repeated).await;
    let pod = stage.api::<Pod>().get("app").await.unwrap();
    assert_eq!(container(&pod).unwrap().restart_count, 0);
    assert_eq!(phase(&pod), "Running");
    stage.shutdown().await;
}

#[tokio::test]
async fn a_readiness_gate_opens_when_somebody_sets_its_condition() {
    let stage = Stage::new().await;
    let gated = json!({"readinessGates": [{"conditionType": "shop.test/warm"}]});
    stage.create::<Pod>(pod("app", &json!({}), &gated)).await;
    let running = |pod: Option<&Pod>| {
        let status = pod.and_then(container);
        status.is_some_and(|status| status.ready)
    };
    let closed = stage.until("app", running).await;
    assert!(is_unready().matches_object(Some(&closed)));
    let set = async |value: &str| {
        let patch =
            json!({"status": {"conditions": [{"type": "shop.test/warm", "status": value}]}});
        let parameters = PatchParams::default();
        let patch = Patch::Strategic(patch);
        let pods = stage.api::<Pod>();
        pods.patch_status("app", &parameters, &patch).await.unwrap();
    };
    set("True").await;
    stage.until("app", is_ready()).await;
    set("False").await;
    stage.until("app", is_unready()).await;
    stage.shutdown().await;
}

#[tokio::test]
async fn a_pod_of_another_scheduler_waits_for_it() {
    let stage = Stage::new().await;
    let elsewhere = json!({"schedulerName": "mine"});
    stage
        .create::<Pod>(pod("other", &json!({}), &elsewhere))
        .await;
    stage
        .create::<Pod>(pod("app", &json!({}), &json!({})))
        .await;
    stage.until("app", is_ready()).await;
    let other = stage.api::<Pod>().get("other").await.unwrap();
    assert_eq!(phase(&other), "Pending");
    assert_eq!(other.spec.unwrap().node_name, None);
    stage.shutdown().await;
}
