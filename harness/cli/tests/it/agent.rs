//! The agent as a pod of the local cluster, with nothing but the product's binary.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::holdfast::{eventually, processes_of};
use crate::standing::Up;

async fn pods(up: &Up) -> Api<Pod> {
    let kubeconfig = Kubeconfig::read_from(up.file("config")).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Api::default_namespaced(Client::try_from(config.unwrap()).unwrap())
}

async fn run(pods: &Api<Pod>, name: &str, spec: Value) -> Pod {
    let pod = json!({"metadata": {"name": name}, "spec": spec});
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let running = await_condition(pods.clone(), name, conditions::is_pod_running());
    running.await.unwrap().unwrap()
}

/// The processes whose command line contains `words` of the pod with this uid.
pub(crate) fn processes(uid: &str, words: &str) -> Vec<i32> {
    let found = processes_of(&format!("HOLDFAST_POD_UID={uid}")).into_iter();
    let found = found.filter(|process| process.contains(words) && !process.contains("pod-shim"));
    let pid = |process: String| process.split(' ').next().unwrap().parse().unwrap();
    found.map(pid).collect()
}

pub(crate) fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains(") T ")
}

#[tokio::test]
async fn a_pod_is_frozen_by_another_one_and_goes_on_when_that_ends_or_is_killed() {
    let marker = format!("agent-{}", std::process::id());
    let up = Up::start(&marker);
    let pods = pods(&up).await;
    let victim = json!({"containers": [{"name": "c", "image": "holdfast/victim:dev"}]});
    let victim = run(&pods, "victim", victim).await;
    let uid = victim.metadata.uid.unwrap();
    let frozen = processes(&uid, "victim");
    assert_eq!(frozen.len(), 1);
    let frozen = frozen[0];
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let until = (now + 300).to_string();
    let agent = json!({
        "hostPID": true,
        "restartPolicy": "Never",
        "containers": [{
            "name": "agent",
            "image": "holdfast/agent:dev",
            "args": ["freeze", "--pod-uid", uid, "--pod-name", "victim", "--until", until],
        }],
    });
    for round in 0..3 {
        let name = format!("agent-{round}");
        let agent = run(&pods, &name, agent.clone()).await;
        eventually("the victim is frozen", || is_stopped(frozen));
        if round == 0 {
            let parameters = DeleteParams::default();
            pods.delete(&name, &parameters).await.unwrap();
        } else {
            let processes = processes(&agent.metadata.uid.unwrap(), "agent freeze");
            assert_eq!(processes.len(), 1, "the watcher is another one");
            kill(Pid::from_raw(processes[0]), Signal::SIGKILL).unwrap();
        }
        eventually("the victim goes on", || !is_stopped(frozen));
        let over = |pod: Option<&Pod>| {
            pod.is_none_or(|pod| {
                let status = pod.status.as_ref();
                let phase = status.and_then(|status| status.phase.as_deref());
                matches!(phase, Some("Succeeded" | "Failed"))
            })
        };
        await_condition(pods.clone(), &name, over).await.unwrap();
        assert!(!is_stopped(frozen));
    }
    drop(up);
    eventually("no process is left", || processes_of(&marker).is_empty());
}
