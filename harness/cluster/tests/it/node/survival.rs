//! Nothing survives the cluster, whenever and however it ends.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdfast_cluster::Options;
use holdfast_cluster::pod_shim::Isolation;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::stage::{DEADLINE, Stage, client_for, env, exit_code, is_ready, phase, pod};

const PODS: usize = 3;
const MOMENTS: u32 = 10;
/// How long the processes of a killed cluster may take to disappear.
const AFTERLIFE: Duration = Duration::from_secs(2);

/// The processes that carry `marker` in their environment or command line.
fn carriers(marker: &str) -> Vec<String> {
    let carries = |path: String| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes
            .windows(marker.len())
            .any(|window| window == marker.as_bytes())
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| {
            carries(format!("/proc/{pid}/environ")) || carries(format!("/proc/{pid}/cmdline"))
        })
        .collect()
}

async fn until_nobody_carries(marker: &str, limit: Duration) {
    let gone = async {
        while !carriers(marker).is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(limit, gone).await.is_err() {
        panic!("still alive: {:?}", carriers(marker));
    }
}

fn stubborn(name: &str, marker: &str) -> Pod {
    let variables = [
        ("MARKER", marker),
        ("ON_SIGTERM", "ignore"),
        ("GRANDCHILD", "yes"),
    ];
    serde_json::from_value(pod(name, &json!({"env": env(&variables)}), &json!({}))).unwrap()
}

fn folders_of_pods(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("holdfast-node-"))
        .count()
}

/// A cluster in a process of its own.
struct Runner {
    process: Child,
    pods: Api<Pod>,
}

impl Runner {
    /// With `folder` for logs and for temporary files.
    async fn new(folder: &Path, isolation: Option<&str>) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_holdfast-cluster-runner"))
            .arg(env!("CARGO_BIN_EXE_holdfast-cluster-pod-shim"))
            .arg(env!("CARGO_BIN_EXE_holdfast-cluster-victim"))
            .arg(folder)
            .args(isolation)
            .env("TMPDIR", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut kubeconfig = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == "---" {
                break;
            }
            kubeconfig.push_str(&line);
            kubeconfig.push('\n');
        }
        let pods = Api::namespaced(client_for(&kubeconfig).await, "default");
        Self { process, pods }
    }

    async fn create_pods(&self, marker: &str) {
        for index in 0..PODS {
            let pod = stubborn(&format!("pod-{index}"), marker);
            self.pods
                .create(&PostParams::default(), &pod)
                .await
                .unwrap();
        }
    }

    async fn until_running(&self) {
        for index in 0..PODS {
            let name = format!("pod-{index}");
            let ready = await_condition(self.pods.clone(), &name, is_ready());
            timeout(DEADLINE, ready).await.unwrap().unwrap();
        }
    }

    /// SIGKILL.
    async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// A word that no other process carries.
fn marker() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("holdfast-test-{}-{number}-", std::process::id())
}

#[tokio::test]
async fn killing_the_cluster_at_any_moment_leaves_no_process() {
    kill_at_many_moments(None).await;
}

#[tokio::test]
async fn nor_does_it_without_namespaces() {
    kill_at_many_moments(Some("process-group")).await;
}

async fn kill_at_many_moments(isolation: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    // How long a start takes decides which moments are interesting.
    let runner = Runner::new(folder.path(), isolation).await;
    let begun = Instant::now();
    let whole = marker();
    runner.create_pods(&whole).await;
    runner.until_running().await;
    let duration = begun.elapsed();
    // Each pod: its program and the grandchild, both with the marker.
    assert!(carriers(&whole).len() >= 2 * PODS, "{:?}", carriers(&whole));
    runner.kill().await;
    until_nobody_carries(&whole, AFTERLIFE).await;
    for moment in 0..MOMENTS {
        let marker = marker();
        let runner = Runner::new(folder.path(), isolation).await;
        // Each cluster removes what the one before left behind.
        assert_eq!(folders_of_pods(folder.path()), 1);
        let until = sleep(duration * moment / (MOMENTS - 1));
        tokio::pin!(until);
        tokio::select! {
            () = runner.create_pods(&marker) => until.await,
            () = &mut until => {}
        }
        runner.kill().await;
        until_nobody_carries(&marker, AFTERLIFE).await;
    }
}

#[tokio::test]
async fn an_orderly_shutdown_waits_until_every_process_has_ended() {
    let stage = Stage::new().await;
    let marker = marker();
    stage
        .api::<Pod>()
        .create(&PostParams::default(), &stubborn("app", &marker))
        .await
        .unwrap();
    stage.until("app", is_ready()).await;
    assert!(!carriers(&marker).is_empty());
    stage.shutdown().await;
    assert!(carriers(&marker).is_empty());
}

/// The supervisor of a pod: the parent of a process that carries the marker but is no shim.
fn shims(marker: &str) -> Vec<i32> {
    carriers(marker)
        .iter()
        .filter(|pid| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            program == Path::new(env!("CARGO_BIN_EXE_holdfast-cluster-pod-shim"))
        })
        .map(|pid| pid.parse().unwrap())
        .collect()
}

#[tokio::test]
async fn killing_a_shim_ends_everything_that_its_container_started() {
    for isolation in [None, Some(Isolation::ProcessGroup)] {
        let stage = Stage::with(Options {
            isolation,
            ..Options::default()
        })
        .await;
        let marker = marker();
        // One child in the container's process group, and one in a session of its own.
        let command = "sleep 1000000 & setsid sleep 1000000 & sleep 1; echo started; wait";
        let container = json!({
            "image": "shell",
            "args": ["-c", command],
            "env": env(&[("MARKER", &marker)]),
        });
        let spec = json!({"restartPolicy": "Never"});
        stage.create::<Pod>(pod("app", &container, &spec)).await;
        stage.log_line("app", "started").await;
        let shims = shims(&marker);
        assert_eq!(shims.len(), 1, "{shims:?}");
        let killed = Command::new("kill")
            .args(["-9", &shims[0].to_string()])
            .status();
        assert!(killed.await.unwrap().success());
        let failed = |pod: Option<&Pod>| pod.is_some_and(|pod| phase(pod) == "Failed");
        let pod = stage.until("app", failed).await;
        assert_eq!(exit_code(&pod), Some(137));
        until_nobody_carries(&marker, AFTERLIFE).await;
        stage.shutdown().await;
    }
}
