//! Nothing survives the cluster, whenever and however it ends.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::stage::{DEADLINE, Stage, client_for, env, is_ready, pod};

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
    async fn new(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_holdfast-cluster-runner"))
            .arg(env!("CARGO_BIN_EXE_holdfast-cluster-pod-shim"))
            .arg(env!("CARGO_BIN_EXE_holdfast-cluster-victim"))
            .arg(folder)
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

fn marker(moment: u32) -> String {
    format!("holdfast-test-{}-{moment}", std::process::id())
}

#[tokio::test]
async fn killing_the_cluster_at_any_moment_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    // How long a start takes decides which moments are interesting.
    let runner = Runner::new(folder.path()).await;
    let begun = Instant::now();
    let whole = marker(MOMENTS);
    runner.create_pods(&whole).await;
    runner.until_running().await;
    let duration = begun.elapsed();
    // Each pod: its program and the grandchild, both with the marker.
    assert!(carriers(&whole).len() >= 2 * PODS, "{:?}", carriers(&whole));
    runner.kill().await;
    until_nobody_carries(&whole, AFTERLIFE).await;
    for moment in 0..MOMENTS {
        let marker = marker(moment);
        let runner = Runner::new(folder.path()).await;
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
    let marker = marker(MOMENTS + 1);
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
