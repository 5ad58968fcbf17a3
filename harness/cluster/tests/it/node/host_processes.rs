//! Pods that share the process ids of the machine.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::stage::{Stage, exit_code, pod};

#[tokio::test]
async fn a_pod_with_host_pid_is_an_ordinary_process_of_the_machine() {
    let stage = Stage::new().await;
    let container = json!({
        "image": "shell",
        "args": ["-c", "grep NSpid /proc/self/status; sleep 1000000"],
    });
    let spec = json!({"hostPID": true, "terminationGracePeriodSeconds": 60});
    stage.create::<Pod>(pod("seer", &container, &spec)).await;
    let log = stage.log_line("seer", "NSpid").await;
    let ids = log
        .split_whitespace()
        .filter(|word| word.parse::<u32>().is_ok());
    assert_eq!(ids.count(), 1, "in no other PID namespace: {log}");
    let last = stage.delete_pod("seer").await;
    assert_eq!(
        exit_code(&last),
        Some(143),
        "SIGTERM ends what is not PID 1"
    );
    stage.shutdown().await;
}
