//! Pods for which the machine has no place at first.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::failures::waits_for;
use super::stage::{
    DEADLINE, Stage, address, ask, container, exit_code, is_ready, is_unready, phase, pod,
};

/// Has a pod come to the node only when `prepare` has been called with its uid.
async fn start_after(stage: &Stage, name: &str, prepare: impl FnOnce(&str)) {
    let nodes: Api<Node> = Api::all(stage.client.clone());
    nodes.cordon("local").await.unwrap();
    let created: Pod = stage.create(pod(name, &json!({}), &json!({}))).await;
    prepare(&created.metadata.uid.unwrap());
    nodes.uncordon("local").await.unwrap();
}

/// The folder of the pods' folders.
async fn folder_of_pods(stage: &Stage) -> PathBuf {
    stage
        .create::<Pod>(pod("first", &json!({}), &json!({})))
        .await;
    let first = stage.until("first", is_ready()).await;
    stage.log_line("first", "listening").await;
    let home = ask(address(&first), "GET /env/HOME").await.unwrap();
    Path::new(&home).parent().unwrap().to_owned()
}

fn condition(pod: &Pod, type_: &str) -> Value {
    let status = serde_json::to_value(&pod.status).unwrap();
    let conditions = status["conditions"].as_array().unwrap().iter();
    let mut found = conditions.filter(|condition| condition["type"] == type_);
    found.next().unwrap()["status"].clone()
}

#[tokio::test]
async fn a_pod_without_a_sandbox_is_tried_again_until_it_has_one() {
    let stage = Stage::new().await;
    let parent = folder_of_pods(&stage).await;
    let mut obstacle = PathBuf::new();
    start_after(&stage, "app", |uid| {
        obstacle = parent.join(uid);
        fs::write(&obstacle, "in the way").unwrap();
    })
    .await;
    let told = stage.event("app", "FailedCreatePodSandBox").await;
    assert_eq!(told.type_.as_deref(), Some("Warning"));
    let message = told.message.unwrap();
    assert!(message.contains(obstacle.to_str().unwrap()), "{message}");
    let waiting = stage.until("app", is_unready()).await;
    assert_eq!(phase(&waiting), "Pending");
    assert!(waits_for(container(&waiting).unwrap(), "ContainerCreating"));
    assert_eq!(waiting.status.as_ref().unwrap().pod_ip, None);
    assert_eq!(condition(&waiting, "PodReadyToStartContainers"), "False");
    fs::remove_file(obstacle).unwrap();
    let ready = stage.until("app", is_ready()).await;
    assert_eq!(condition(&ready, "PodReadyToStartContainers"), "True");
    stage.shutdown().await;
}

#[tokio::test]
async fn a_pod_without_a_sandbox_can_be_deleted() {
    let stage = Stage::new().await;
    let parent = folder_of_pods(&stage).await;
    start_after(&stage, "app", |uid| {
        fs::write(parent.join(uid), "in the way").unwrap();
    })
    .await;
    stage.event("app", "FailedCreatePodSandBox").await;
    let last = stage.delete_pod("app").await;
    assert_eq!(phase(&last), "Failed");
    assert_eq!(exit_code(&last), Some(137), "it is not known to have run");
    stage.shutdown().await;
}

#[tokio::test]
async fn a_container_without_a_log_is_tried_again_until_it_has_one() {
    let stage = Stage::new().await;
    let mut obstacle = PathBuf::new();
    start_after(&stage, "app", |uid| {
        obstacle = stage.log_directory().join(format!("default_app_{uid}"));
        fs::write(&obstacle, "in the way").unwrap();
    })
    .await;
    let waiting = stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| waits_for(status, "CreateContainerConfigError"))
        })
        .await;
    assert_eq!(phase(&waiting), "Pending");
    stage.event("app", "Failed").await;
    fs::remove_file(obstacle).unwrap();
    let ready = stage.until("app", is_ready()).await;
    assert_eq!(container(&ready).unwrap().restart_count, 0);
    stage.shutdown().await;
}

#[tokio::test]
async fn pods_share_the_folder_of_their_namespace_which_goes_with_it() {
    let stage = Stage::new().await;
    let folder = folder_of_pods(&stage).await;
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    let other = json!({"metadata": {"name": "other"}});
    let other: Namespace = serde_json::from_value(other).unwrap();
    namespaces
        .create(&PostParams::default(), &other)
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), "other");
    let script = "echo other > ../bus; exec sleep 600";
    let container = json!({"image": "shell", "args": ["-c", script]});
    let spec = json!({"terminationGracePeriodSeconds": 1});
    let tenant = serde_json::from_value(pod("tenant", &container, &spec)).unwrap();
    pods.create(&PostParams::default(), &tenant).await.unwrap();
    let ready = await_condition(pods.clone(), "tenant", is_ready());
    timeout(DEADLINE, ready).await.unwrap().unwrap();

    let others = folder.parent().unwrap().join("other");
    until(|| others.join("bus").exists()).await;
    assert!(!folder.join("bus").exists(), "{}", folder.display());
    namespaces
        .delete("other", &DeleteParams::default())
        .await
        .unwrap();
    until(|| !others.exists()).await;
    assert!(folder.exists());
    stage.shutdown().await;
}

/// Waits for what no event tells of.
async fn until(found: impl Fn() -> bool) {
    let looking = async {
        while !found() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, looking).await.unwrap();
}
