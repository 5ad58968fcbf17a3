//! How pods end.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_cluster::Options;
use holdfast_cluster::pod_shim::Isolation;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::stage::{
    Connection, DEADLINE, IMAGE, Stage, address, container, deployment, env, exit_code, is_ready,
    phase, pod,
};

/// What the API accepts at most, in seconds.
const LONGEST_GRACE: u64 = i64::MAX.unsigned_abs();

/// A pod that can be ended within `grace` seconds, and that listens.
async fn running(stage: &Stage, on_sigterm: &str, grace: u64, lifecycle: Value) -> Pod {
    let container = json!({"env": env(&[("ON_SIGTERM", on_sigterm)]), "lifecycle": lifecycle});
    let spec = json!({"terminationGracePeriodSeconds": grace});
    stage.create::<Pod>(pod("app", &container, &spec)).await;
    let pod = stage.until("app", is_ready()).await;
    stage.log_line("app", "listening").await;
    pod
}

#[tokio::test]
async fn a_program_without_a_handler_ignores_sigterm_as_pid_one_does() {
    let stage = Stage::new().await;
    running(&stage, "default", 3, json!({})).await;
    let asked = Instant::now();
    let last = stage.delete_pod("app").await;
    assert!(
        asked.elapsed() >= Duration::from_secs(3),
        "it had its whole grace period"
    );
    assert_eq!(exit_code(&last), Some(137));
    assert_eq!(phase(&last), "Failed");
    stage.shutdown().await;
}

#[tokio::test]
async fn a_handler_that_exits_ends_the_pod_well() {
    let stage = Stage::new().await;
    running(&stage, "exit", LONGEST_GRACE, json!({})).await;
    let asked = Instant::now();
    let last = stage.delete_pod("app").await;
    assert!(
        asked.elapsed() < Duration::from_secs(60),
        "the grace period was not needed"
    );
    assert_eq!(exit_code(&last), Some(0));
    assert_eq!(phase(&last), "Succeeded");
    stage.shutdown().await;
}

#[tokio::test]
async fn the_hook_comes_before_sigterm_and_leaves_two_seconds() {
    let stage = Stage::new().await;
    running(
        &stage,
        "ignore",
        3,
        json!({"preStop": {"sleep": {"seconds": 3}}}),
    )
    .await;
    let asked = Instant::now();
    let last = stage.delete_pod("app").await;
    assert!(
        asked.elapsed() >= Duration::from_secs(5),
        "three for the hook, two at least afterwards"
    );
    assert_eq!(exit_code(&last), Some(137));
    stage.shutdown().await;
}

#[tokio::test]
async fn a_pod_serves_while_its_hook_sleeps() {
    let stage = Stage::new().await;
    let pod = running(
        &stage,
        "exit",
        60,
        json!({"preStop": {"exec": {"command": ["sleep", "3"]}}}),
    )
    .await;
    let mut connection = Connection::open(address(&pod)).await.unwrap();
    stage
        .api::<Pod>()
        .delete("app", &DeleteParams::default())
        .await
        .unwrap();
    stage.event("app", "Killing").await;
    assert_eq!(connection.ask("GET /").await.unwrap(), "app");
    let gone = |pod: Option<&Pod>| pod.is_none();
    let wait = kube::runtime::wait::await_condition(stage.api::<Pod>(), "app", gone);
    tokio::time::timeout(DEADLINE, wait).await.unwrap().unwrap();
    assert!(Connection::open(address(&pod)).await.is_err());
    stage.shutdown().await;
}

#[tokio::test]
async fn a_failing_hook_is_told_and_changes_nothing() {
    let stage = Stage::new().await;
    running(
        &stage,
        "exit",
        60,
        json!({"preStop": {"exec": {"command": ["false"]}}}),
    )
    .await;
    let last = stage.delete_pod("app").await;
    assert_eq!(exit_code(&last), Some(0));
    stage.event("app", "FailedPreStopHook").await;
    stage.shutdown().await;
}

#[tokio::test]
async fn a_pod_deleted_by_force_is_gone_at_once_and_its_process_in_its_own_time() {
    let stage = Stage::new().await;
    let pod = running(&stage, "ignore", 4, json!({})).await;
    let mut connection = Connection::open(address(&pod)).await.unwrap();
    connection.ask("GET /").await.unwrap();
    let force = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    let asked = Instant::now();
    stage.api::<Pod>().delete("app", &force).await.unwrap();
    assert!(stage.api::<Pod>().get_opt("app").await.unwrap().is_none());
    let closed = async { while connection.ask("GET /").await.is_ok() {} };
    tokio::time::timeout(DEADLINE, closed)
        .await
        .expect("the process should end after its grace period");
    assert!(asked.elapsed() >= Duration::from_secs(4));
    stage.shutdown().await;
}

#[tokio::test]
async fn the_end_of_one_container_is_told_when_all_have_ended() {
    let stage = Stage::new().await;
    let victim = |name: &str, port: &str, on_sigterm: &str| {
        let variables = env(&[("PORT", port), ("ON_SIGTERM", on_sigterm)]);
        json!({"name": name, "image": IMAGE, "env": variables})
    };
    let containers = [victim("quick", "8080", "exit"), victim("slow", "8081", "3")];
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 60});
    stage.create::<Pod>(pod("app", &json!({}), &spec)).await;
    let pod = stage.until("app", is_ready()).await;
    let pods = stage.api::<Pod>();
    let version = pod.metadata.resource_version.unwrap();
    let only = WatchParams::default().fields("metadata.name=app");
    let mut changes = pods.watch(&only, &version).await.unwrap().boxed();
    pods.delete("app", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    let whole = async {
        while let Some(change) = changes.try_next().await.unwrap() {
            match change {
                WatchEvent::Modified(pod) => seen.push(ended_containers(&pod)),
                WatchEvent::Deleted(_) => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(DEADLINE, whole).await.unwrap();
    seen.dedup();
    assert_eq!(seen, [0, 2]);
    stage.shutdown().await;
}

fn ended_containers(pod: &Pod) -> usize {
    let status = pod.status.as_ref().unwrap();
    let containers = status.container_statuses.iter().flatten();
    let states = containers.filter_map(|container| container.state.as_ref());
    states.filter(|state| state.terminated.is_some()).count()
}

#[tokio::test]
async fn a_hook_needs_some_time_of_grace() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let hooked = |name: &str, container: Value| {
        let file = folder.path().join(name);
        let mut container = container;
        container["lifecycle"] = json!({"preStop": {"exec": {"command": ["touch", file]}}});
        let pod = pod(
            name,
            &container,
            &json!({"terminationGracePeriodSeconds": 0}),
        );
        (pod, file)
    };
    // The node gives a pod that is deleted a second at least.
    let (deleted, mark) = hooked("deleted", json!({}));
    stage.create::<Pod>(deleted).await;
    stage.until("deleted", is_ready()).await;
    let pods = stage.api::<Pod>();
    pods.delete("deleted", &DeleteParams::default())
        .await
        .unwrap();
    let marked = async {
        while !mark.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, marked).await.unwrap();
    let probe = json!({
        "exec": {"command": ["false"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
        "timeoutSeconds": 60,
    });
    let (failing, mark) = hooked("failing", json!({"livenessProbe": probe}));
    stage.create::<Pod>(failing).await;
    let restarted = |pod: Option<&Pod>| {
        let status = pod.and_then(container);
        status.is_some_and(|status| status.restart_count > 0)
    };
    stage.until("failing", restarted).await;
    assert!(!mark.exists());
    stage.shutdown().await;
}

#[tokio::test]
async fn a_later_deletion_can_shorten_the_grace_period() {
    let stage = Stage::new().await;
    running(&stage, "ignore", 600, json!({})).await;
    stage
        .api::<Pod>()
        .delete("app", &DeleteParams::default())
        .await
        .unwrap();
    stage.log_line("app", "SIGTERM").await;
    let sooner = DeleteParams {
        grace_period_seconds: Some(1),
        ..DeleteParams::default()
    };
    stage.api::<Pod>().delete("app", &sooner).await.unwrap();
    let gone = |pod: Option<&Pod>| pod.is_none();
    let wait = kube::runtime::wait::await_condition(stage.api::<Pod>(), "app", gone);
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("ten minutes became one second")
        .unwrap();
    stage.shutdown().await;
}

#[tokio::test]
async fn a_deleted_pod_is_replaced() {
    let stage = Stage::new().await;
    stage
        .create::<Deployment>(deployment(
            "app",
            1,
            &json!({"env": env(&[("ON_SIGTERM", "exit")])}),
        ))
        .await;
    let available = |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.available_replicas == Some(1))
    };
    stage.until("app", available).await;
    let names = async || -> Vec<String> {
        let pods = stage
            .api::<Pod>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items;
        pods.into_iter()
            .filter_map(|pod| pod.metadata.name)
            .collect()
    };
    let before = names().await;
    stage.delete_pod(&before[0]).await;
    stage.until("app", available).await;
    let after = names().await;
    assert_eq!(after.len(), 1);
    assert_ne!(after, before);
    stage.shutdown().await;
}

#[tokio::test]
async fn the_rule_of_pid_one_holds_without_namespaces() {
    for (on_sigterm, code) in [("default", 137), ("ignore", 137), ("exit", 0)] {
        let stage = Stage::with(Options {
            isolation: Some(Isolation::ProcessGroup),
            ..Options::default()
        })
        .await;
        // Of a long one a busy machine does not take the whole.
        let grace = if code == 137 { 3 } else { 60 };
        running(&stage, on_sigterm, grace, json!({})).await;
        let asked = Instant::now();
        let last = stage.delete_pod("app").await;
        assert_eq!(exit_code(&last), Some(code), "{on_sigterm}");
        let whole_grace = asked.elapsed() >= Duration::from_secs(grace);
        assert_eq!(whole_grace, code == 137, "{on_sigterm}");
        stage.shutdown().await;
    }
}

#[tokio::test]
async fn a_pod_is_ended_when_it_has_been_active_for_too_long() {
    let stage = Stage::new().await;
    let spec = json!({"activeDeadlineSeconds": 2, "terminationGracePeriodSeconds": 60});
    let container = json!({"env": env(&[("ON_SIGTERM", "exit")])});
    stage.create::<Pod>(pod("app", &container, &spec)).await;
    let failed = |pod: Option<&Pod>| pod.is_some_and(|pod| phase(pod) == "Failed");
    let pod = stage.until("app", failed).await;
    let status = pod.status.clone().unwrap();
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(exit_code(&pod), Some(0), "it was asked to end, and did");
    stage.event("app", "DeadlineExceeded").await;
    let killing = stage.event("app", "Killing").await;
    let part = killing.involved_object.field_path;
    assert_eq!(part.as_deref(), Some("spec.containers{c}"));
    stage.shutdown().await;
}

#[tokio::test]
async fn a_pod_ends_in_the_order_that_watchers_rely_on() {
    let stage = Stage::new().await;
    let pod = running(&stage, "exit", 60, json!({})).await;
    let pods = stage.api::<Pod>();
    let version = pod.metadata.resource_version.unwrap();
    let only = WatchParams::default().fields("metadata.name=app");
    let mut changes = pods.watch(&only, &version).await.unwrap().boxed();
    pods.delete("app", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    let whole = async {
        while let Some(change) = changes.try_next().await.unwrap() {
            let (word, pod) = match change {
                WatchEvent::Modified(pod) => ("modified", pod),
                WatchEvent::Deleted(pod) => ("deleted", pod),
                _ => continue,
            };
            seen.push((word, phase(&pod).to_owned()));
            if word == "deleted" {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, whole).await.unwrap();
    let step = |word, phase: &str| (word, phase.to_owned());
    let expected = [
        step("modified", "Running"),
        step("modified", "Succeeded"),
        step("deleted", "Succeeded"),
    ];
    seen.dedup();
    assert_eq!(seen, expected);
    stage.shutdown().await;
}
