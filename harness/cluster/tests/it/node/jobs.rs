//! Jobs with real processes, over the API and through kubectl.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use kube::runtime::conditions::is_job_completed;
use kube::runtime::wait::conditions::is_deleted;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::kubectl::Kubectl;

/// A Job of shells running `script`. `spec` is put over the defaults.
fn job(name: &str, script: &str, spec: &Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "shell", "args": ["-c", script]}],
        }}},
    });
    merge(&mut job["spec"], spec);
    job
}

/// Puts fields over others, maps within maps.
fn merge(base: &mut Value, top: &Value) {
    match (base.as_object_mut(), top.as_object()) {
        (Some(fields), Some(over)) => {
            for (name, value) in over {
                merge(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        _ => *base = top.clone(),
    }
}

fn failed(reason: &'static str) -> impl kube::runtime::wait::Condition<Job> {
    move |job: Option<&Job>| {
        let status = job.and_then(|job| job.status.as_ref());
        let mut conditions = status
            .and_then(|status| status.conditions.as_ref())
            .into_iter()
            .flatten();
        conditions.any(|found| {
            found.type_ == "Failed"
                && found.status == "True"
                && found.reason.as_deref() == Some(reason)
        })
    }
}

async fn pods(stage: &Stage, job: &str) -> Vec<Pod> {
    let own = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    stage.api::<Pod>().list(&own).await.unwrap().items
}

#[tokio::test]
async fn workers_of_an_indexed_job_know_who_they_are() {
    let stage = Stage::new().await;
    let spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3});
    let script = "echo I am $JOB_COMPLETION_INDEX on $HOSTNAME";
    stage.create::<Job>(job("sums", script, &spec)).await;
    let done = stage.until("sums", is_job_completed()).await;
    let status = done.status.unwrap();
    assert_eq!(status.completed_indexes.as_deref(), Some("0-2"));
    assert_eq!((status.succeeded, status.failed), (Some(3), None));
    let mut lines = Vec::new();
    for pod in pods(&stage, "sums").await {
        let name = pod.metadata.name.unwrap();
        lines.push(stage.log_line(&name, "I am").await);
    }
    lines.sort();
    let expected = [0, 1, 2].map(|index| format!("I am {index} on sums-{index}\n"));
    assert_eq!(lines, expected);
    stage.event("sums", "Completed").await;
    stage.shutdown().await;
}

#[tokio::test]
async fn failures_end_a_job_and_its_other_pods() {
    let stage = Stage::new().await;
    let spec =
        json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 0});
    let script = "test $JOB_COMPLETION_INDEX = 0 || exit 3; sleep 1000";
    stage.create::<Job>(job("sums", script, &spec)).await;
    let over = stage.until("sums", failed("BackoffLimitExceeded")).await;
    let status = over.status.unwrap();
    assert_eq!(
        (status.active, status.failed, status.terminating),
        (None, Some(2), Some(0))
    );
    stage.event("sums", "BackoffLimitExceeded").await;
    stage.shutdown().await;
}

#[tokio::test]
async fn a_deadline_stops_the_processes() {
    let stage = Stage::new().await;
    let spec = json!({"activeDeadlineSeconds": 2, "ttlSecondsAfterFinished": 1});
    let created = job("slow", "sleep 1000", &spec);
    let created = stage.create::<Job>(created).await;
    let uid = created.metadata.uid.unwrap();
    stage.until("slow", failed("DeadlineExceeded")).await;
    let gone = kube::runtime::wait::await_condition(stage.api::<Job>(), "slow", is_deleted(&uid));
    tokio::time::timeout(super::stage::DEADLINE, gone)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(pods(&stage, "slow").await, []);
    stage.shutdown().await;
}

#[tokio::test]
async fn suspending_takes_the_pods_away_and_resuming_brings_new_ones() {
    let stage = Stage::new().await;
    let created = stage
        .create::<Job>(job("sums", "sleep 1000", &json!({"suspend": true})))
        .await;
    assert!(created.status.unwrap().start_time.is_none());
    let active = |count: Option<i32>| {
        move |job: Option<&Job>| {
            let status = job.and_then(|job| job.status.as_ref());
            status.is_some_and(|status| status.active == count && status.terminating == Some(0))
        }
    };
    let suspend = async |suspend: bool| {
        let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        let jobs = stage.api::<Job>();
        jobs.patch("sums", &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    stage.event("sums", "Suspended").await;
    suspend(false).await;
    stage.until("sums", active(Some(1))).await;
    suspend(true).await;
    let status = stage.until("sums", active(None)).await.status.unwrap();
    assert_eq!(status.failed, None);
    stage.shutdown().await;
}

#[tokio::test]
async fn deletion_takes_or_leaves_the_pods_as_asked() {
    let stage = Stage::new().await;
    let jobs = stage.api::<Job>();
    for name in ["taken", "left"] {
        stage.create::<Job>(job(name, "exit 0", &json!({}))).await;
        stage.until(name, is_job_completed()).await;
    }
    let background = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    let pod = pods(&stage, "taken").await.pop().unwrap();
    jobs.delete("taken", &background).await.unwrap();
    let (name, uid) = (pod.metadata.name.unwrap(), pod.metadata.uid.unwrap());
    let gone = kube::runtime::wait::await_condition(stage.api::<Pod>(), &name, is_deleted(&uid));
    tokio::time::timeout(super::stage::DEADLINE, gone)
        .await
        .unwrap()
        .unwrap();
    // What kube-rs sends by default says nothing, and then a real cluster keeps the pods of a Job.
    let uid = jobs.get("left").await.unwrap().metadata.uid.unwrap();
    jobs.delete("left", &DeleteParams::default()).await.unwrap();
    let gone = kube::runtime::wait::await_condition(stage.api::<Job>(), "left", is_deleted(&uid));
    tokio::time::timeout(super::stage::DEADLINE, gone)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(pods(&stage, "left").await.len(), 1);
    stage.shutdown().await;
}

#[tokio::test]
async fn kubectl_follows_a_job_to_its_end() {
    let stage = Stage::new().await;
    let Some(kubectl) = Kubectl::find(&stage.kubeconfig()).await else {
        return stage.shutdown().await;
    };
    let created = kubectl
        .run(&[
            "create",
            "job",
            "hello",
            "--image=shell",
            "--",
            "/bin/sh",
            "-c",
            "echo hello",
        ])
        .await;
    assert_eq!(created, "job.batch/hello created\n");
    kubectl
        .run(&[
            "wait",
            "--for=condition=complete",
            "--timeout=60s",
            "job/hello",
        ])
        .await;
    assert_eq!(kubectl.run(&["logs", "job/hello"]).await, "hello\n");
    let listed = kubectl.run(&["get", "jobs"]).await;
    let mut lines = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        lines.next().unwrap(),
        ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    );
    assert_eq!(lines.next().unwrap()[..3], ["hello", "Complete", "1/1"]);
    let described = kubectl.run(&["describe", "job", "hello"]).await;
    for expected in [
        "Parallelism:",
        "Completion Mode:  NonIndexed",
        "1 Succeeded",
        "SuccessfulCreate",
    ] {
        assert!(described.contains(expected), "{expected}: {described}");
    }
    kubectl.run(&["delete", "job", "hello"]).await;
    let left = kubectl.run(&["get", "pods", "-o", "name"]).await;
    assert_eq!(left, "");
    stage.shutdown().await;
}
