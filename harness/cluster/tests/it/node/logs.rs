//! What containers wrote, through the real kubectl, when there is one.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::failures::waits_for;
use super::stage::{Stage, container, phase, pod};
use crate::kubectl::Kubectl;

/// A pod `app` that runs this in a shell, and kubectl.
async fn with_script(script: &str, restart_policy: &str) -> Option<(Stage, Kubectl)> {
    let stage = Stage::new().await;
    let Some(kubectl) = Kubectl::find(&stage.kubeconfig()).await else {
        stage.shutdown().await;
        return None;
    };
    let shell = json!({"image": "shell", "args": ["-c", script]});
    let policy = json!({"restartPolicy": restart_policy});
    stage.create::<Pod>(pod("app", &shell, &policy)).await;
    Some((stage, kubectl))
}

#[tokio::test]
async fn each_run_has_a_log_and_the_tail_of_it() {
    let script = "test -e again && { echo second; exec sleep 1000000; }; touch again; echo one; echo two; exit 1";
    let Some((stage, kubectl)) = with_script(script, "Always").await else {
        return;
    };
    stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container).is_some_and(|status| {
                let state = status.state.as_ref();
                status.restart_count == 1 && state.is_some_and(|state| state.running.is_some())
            })
        })
        .await;
    stage.log_line("app", "second").await;
    assert_eq!(kubectl.run(&["logs", "app"]).await, "second\n");
    let previous = ["logs", "app", "--previous"];
    assert_eq!(kubectl.run(&previous).await, "one\ntwo\n");
    let tail = ["logs", "app", "--previous", "--tail=1"];
    assert_eq!(kubectl.run(&tail).await, "two\n");
    stage.shutdown().await;
}

#[tokio::test]
async fn in_a_crash_loop_the_last_run_is_the_previous_one() {
    let script = "echo x >> runs; wc -l < runs; exit 1";
    let Some((stage, kubectl)) = with_script(script, "Always").await else {
        return;
    };
    stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| waits_for(status, "CrashLoopBackOff"))
        })
        .await;
    // The container waits ten seconds before its third run.
    assert_eq!(kubectl.run(&["logs", "app", "--previous"]).await, "2\n");
    assert_eq!(kubectl.run(&["logs", "app"]).await, "2\n");
    stage.shutdown().await;
}

#[tokio::test]
async fn following_ends_when_the_container_does() {
    let script = "echo one; sleep 2; echo two";
    let Some((stage, kubectl)) = with_script(script, "Never").await else {
        return;
    };
    stage
        .until("app", |pod: Option<&Pod>| {
            pod.is_some_and(|pod| phase(pod) != "Pending")
        })
        .await;
    let followed = kubectl.run(&["logs", "-f", "app"]).await;
    assert_eq!(followed, "one\ntwo\n");
    let missing = kubectl.fail(&["logs", "app", "--previous"]).await;
    let words = "previous terminated container \"c\" in pod \"app\" not found";
    assert!(missing.contains(words), "{missing}");
    stage.shutdown().await;
}

#[tokio::test]
async fn why_there_is_no_log_is_said() {
    let Some((stage, kubectl)) = with_script("true", "Always").await else {
        return;
    };
    let unmapped = json!({"image": "unmapped"});
    stage
        .create::<Pod>(pod("held", &unmapped, &json!({})))
        .await;
    stage
        .until("held", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| waits_for(status, "ImagePullBackOff"))
        })
        .await;
    let refused = kubectl.fail(&["logs", "held"]).await;
    let words = "is waiting to start: ImagePullBackOff";
    assert!(refused.contains(words), "{refused}");
    stage.shutdown().await;
}
