//! Pods that do not come up.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::json;

use super::stage::{Stage, container, env, phase, pod};

pub(super) fn waits_for(status: &ContainerStatus, reason: &str) -> bool {
    let waiting = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
}

#[tokio::test]
async fn a_program_that_keeps_ending_is_restarted_at_once_and_then_later() {
    let stage = Stage::new().await;
    let ending = json!({"env": env(&[("EXIT_AFTER", "0"), ("EXIT_CODE", "3")])});
    stage.create::<Pod>(pod("app", &ending, &json!({}))).await;
    let looping = stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| waits_for(status, "CrashLoopBackOff"))
        })
        .await;
    let status = container(&looping).unwrap();
    assert_eq!(status.restart_count, 1, "the first restart does not wait");
    let last = status
        .last_state
        .as_ref()
        .unwrap()
        .terminated
        .as_ref()
        .unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    assert_eq!(phase(&looping), "Running");
    stage.event("app", "BackOff").await;
    let later = stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| status.restart_count == 2)
        })
        .await;
    assert_eq!(later.metadata.uid, looping.metadata.uid);
    stage.shutdown().await;
}

#[tokio::test]
async fn a_container_that_fails_its_probe_waits_only_if_it_did_so_shortly_before() {
    let stage = Stage::new().await;
    let probe = json!({
        "exec": {"command": ["false"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
        "timeoutSeconds": 60,
    });
    let failing = json!({"env": env(&[("ON_SIGTERM", "exit")]), "livenessProbe": probe});
    // That it then exits with 0 does not matter.
    let spec = json!({"restartPolicy": "OnFailure"});
    stage.create::<Pod>(pod("app", &failing, &spec)).await;
    let looping = stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| waits_for(status, "CrashLoopBackOff"))
        })
        .await;
    let restarts = container(&looping).unwrap().restart_count;
    assert!(restarts >= 2, "the second restart does not wait either");
    stage.shutdown().await;
}

#[tokio::test]
async fn an_image_that_is_not_mapped_cannot_be_pulled() {
    let stage = Stage::new().await;
    stage
        .create::<Pod>(pod("app", &json!({"image": "victim:v2"}), &json!({})))
        .await;
    let waiting = stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| waits_for(status, "ImagePullBackOff"))
        })
        .await;
    assert_eq!(phase(&waiting), "Pending");
    let state = container(&waiting).unwrap().state.clone().unwrap();
    let message = state.waiting.unwrap().message.unwrap();
    assert!(
        message.contains("\"victim:v2\" is not mapped to a local program"),
        "{message}"
    );
    stage.delete_pod("app").await;
    stage.shutdown().await;
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_a_start_error() {
    let stage = Stage::new().await;
    stage
        .create::<Pod>(pod(
            "app",
            &json!({"command": ["/no/such/program"]}),
            &json!({"restartPolicy": "Never"}),
        ))
        .await;
    let failed = stage
        .until("app", |pod: Option<&Pod>| {
            pod.is_some_and(|pod| phase(pod) == "Failed")
        })
        .await;
    let state = container(&failed)
        .unwrap()
        .state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(
        (state.exit_code, state.reason.as_deref()),
        (128, Some("StartError"))
    );
    assert!(state.message.unwrap().contains("/no/such/program"));
    stage.shutdown().await;
}

#[tokio::test]
async fn a_missing_config_map_holds_the_container_until_it_is_there() {
    let stage = Stage::new().await;
    let asking = json!({"envFrom": [{"configMapRef": {"name": "settings"}}]});
    stage.create::<Pod>(pod("app", &asking, &json!({}))).await;
    stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| waits_for(status, "CreateContainerConfigError"))
        })
        .await;
    stage
        .create::<k8s_openapi::api::core::v1::ConfigMap>(json!({"metadata": {"name": "settings"}}))
        .await;
    stage.until("app", super::stage::is_ready()).await;
    stage.shutdown().await;
}

#[tokio::test]
async fn a_listener_on_all_addresses_is_refused_with_an_explanation() {
    let stage = Stage::new().await;
    // A free port, since the whole machine shares it.
    let free = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let greedy = json!({"env": env(&[("BIND", "0.0.0.0"), ("PORT", &port)])});
    stage
        .create::<Pod>(pod("app", &greedy, &json!({"restartPolicy": "Never"})))
        .await;
    let failed = stage
        .until("app", |pod: Option<&Pod>| {
            pod.is_some_and(|pod| phase(pod) == "Failed")
        })
        .await;
    let state = container(&failed)
        .unwrap()
        .state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(state.reason.as_deref(), Some("WildcardListener"));
    assert!(state.message.unwrap().contains("$POD_IP"));
    stage.event("app", "WildcardListener").await;
    stage.shutdown().await;
}

#[tokio::test]
async fn an_image_whose_program_is_missing_can_be_pulled_once_it_is_there() {
    let stage = Stage::new().await;
    stage
        .create::<Pod>(pod("app", &json!({"image": "unbuilt"}), &json!({})))
        .await;
    let waiting = stage
        .until("app", |pod: Option<&Pod>| {
            pod.and_then(container)
                .is_some_and(|status| waits_for(status, "ImagePullBackOff"))
        })
        .await;
    let state = container(&waiting).unwrap().state.clone().unwrap();
    let message = state.waiting.unwrap().message.unwrap();
    let program = stage.unbuilt();
    assert!(
        message.contains(&format!("{}: No such file", program.display())),
        "{message}"
    );
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_holdfast-cluster-victim"), program).unwrap();
    stage.until("app", super::stage::is_ready()).await;
    stage.shutdown().await;
}

/// Why a pod that is not restarted was ended.
async fn fate(stage: &Stage, name: &str) -> k8s_openapi::api::core::v1::ContainerStateTerminated {
    let failed = |pod: Option<&Pod>| pod.is_some_and(|pod| phase(pod) == "Failed");
    let failed = stage.until(name, failed).await;
    let state = container(&failed).unwrap().state.clone().unwrap();
    state.terminated.unwrap()
}

#[tokio::test]
async fn a_child_that_listens_late_on_all_addresses_is_found() {
    let stage = Stage::new().await;
    let free = std::net::TcpListener::bind("[::]:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let command = format!("{} & wait", env!("CARGO_BIN_EXE_holdfast-cluster-victim"));
    let greedy = json!({
        "image": "shell",
        "args": ["-c", command],
        "env": env(&[("BIND", "[::]"), ("PORT", &port), ("BOOT_DELAY", "3")]),
    });
    stage
        .create::<Pod>(pod("app", &greedy, &json!({"restartPolicy": "Never"})))
        .await;
    let ended = fate(&stage, "app").await;
    assert_eq!(ended.reason.as_deref(), Some("WildcardListener"));
    assert!(ended.message.unwrap().contains(&port));
    stage.shutdown().await;
}

#[tokio::test]
async fn two_pods_cannot_share_a_port_unnoticed() {
    let stage = Stage::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let sharing =
        json!({"env": env(&[("BIND", "127.0.0.1"), ("PORT", &port), ("REUSE_PORT", "yes")])});
    let never = json!({"restartPolicy": "Never"});
    stage.create::<Pod>(pod("first", &sharing, &never)).await;
    // It has been looked at, as the second one will be.
    stage.until("first", super::stage::is_ready()).await;
    stage.log_line("first", "listening").await;
    stage.create::<Pod>(pod("second", &sharing, &never)).await;
    let ended = tokio::select! {
        ended = fate(&stage, "second") => ended,
        ended = fate(&stage, "first") => ended,
    };
    assert_eq!(ended.reason.as_deref(), Some("SharedListener"));
    stage.shutdown().await;
}

#[tokio::test]
async fn an_init_container_that_fails_is_tried_again_unless_it_may_not() {
    let stage = Stage::new().await;
    let spec = |policy: &str| {
        json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "i", "image": "shell", "args": ["-c", "exit 3"]}],
        })
    };
    let init = |pod: &Pod| {
        let status = pod.status.clone().unwrap_or_default();
        status.init_container_statuses.unwrap_or_default().pop()
    };
    stage
        .create::<Pod>(pod("again", &json!({}), &spec("Always")))
        .await;
    let looping = stage
        .until("again", move |pod: Option<&Pod>| {
            pod.and_then(init)
                .is_some_and(|status| waits_for(&status, "CrashLoopBackOff"))
        })
        .await;
    assert_eq!(phase(&looping), "Pending");
    assert_eq!(init(&looping).unwrap().restart_count, 1);
    assert!(waits_for(container(&looping).unwrap(), "PodInitializing"));

    stage
        .create::<Pod>(pod("once", &json!({}), &spec("Never")))
        .await;
    let failed = |pod: Option<&Pod>| pod.is_some_and(|pod| phase(pod) == "Failed");
    let failed = stage.until("once", failed).await;
    assert_eq!(init(&failed).unwrap().restart_count, 0);
    assert!(waits_for(container(&failed).unwrap(), "PodInitializing"));
    stage.shutdown().await;
}

#[tokio::test]
async fn a_failed_post_start_hook_ends_the_container() {
    let stage = Stage::new().await;
    let hooked = json!({
        "env": env(&[("ON_SIGTERM", "exit")]),
        "lifecycle": {"postStart": {"exec": {"command": ["false"]}}},
    });
    stage.create::<Pod>(pod("app", &hooked, &json!({}))).await;
    stage.event("app", "FailedPostStartHook").await;
    let restarted = |pod: Option<&Pod>| {
        let status = pod.and_then(container);
        status.is_some_and(|status| status.restart_count > 0)
    };
    let pod = stage.until("app", restarted).await;
    assert!(!container(&pod).unwrap().ready);
    stage.shutdown().await;
}

#[tokio::test]
async fn a_probe_may_have_a_grace_period_of_its_own() {
    let stage = Stage::new().await;
    let probing = json!({
        "env": env(&[("ON_SIGTERM", "ignore")]),
        "livenessProbe": {
            "exec": {"command": ["false"]},
            "periodSeconds": 1,
            "failureThreshold": 1,
            "timeoutSeconds": 60,
            "terminationGracePeriodSeconds": 1,
        },
    });
    let patient = json!({"terminationGracePeriodSeconds": 600});
    stage.create::<Pod>(pod("app", &probing, &patient)).await;
    let killed = |pod: Option<&Pod>| {
        let state = pod
            .and_then(container)
            .and_then(|status| status.last_state.clone());
        let ended = state.and_then(|state| state.terminated);
        ended.is_some_and(|ended| ended.exit_code == 137)
    };
    stage.until("app", killed).await;
    stage.shutdown().await;
}
