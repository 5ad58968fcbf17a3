//! Checks of Jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::LogParams;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::check::{Check, Finding, Group, Load, Shortfall, verdict};
use crate::context::Context;
use crate::journal::{Change, Entry, Journal, states};
use crate::value::merged;

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 50,
        group: Group::Job,
        title: "Indexes",
        expected: "3 completions, 2 at a time: each index succeeds once, on a host of its name",
        about: Duration::from_secs(10),
        load: Load::Light,
        run: |context| Box::pin(indexes(context)),
    },
    Check {
        number: 51,
        group: Group::Job,
        title: "Failures",
        expected: "limit 1: a second pod 10 s after the first failed, then BackoffLimitExceeded",
        about: Duration::from_secs(20),
        load: Load::Light,
        run: |context| Box::pin(failures(context)),
    },
    Check {
        number: 52,
        group: Group::Job,
        title: "Deadline",
        expected: "5: DeadlineExceeded is decided 5 to 6 s after the start, and told when no pod runs",
        about: Duration::from_secs(12),
        load: Load::Light,
        run: |context| Box::pin(deadline(context)),
    },
    Check {
        number: 53,
        group: Group::Job,
        title: "Counting",
        expected: "a pod that is deleted as soon as it has succeeded counts, once",
        about: Duration::from_secs(8),
        load: Load::Light,
        run: |context| Box::pin(counting(context)),
    },
    Check {
        number: 54,
        group: Group::Job,
        title: "Suspension",
        expected: "takes the pods away without failures; resumed, the Job gets new ones",
        about: Duration::from_secs(10),
        load: Load::Light,
        run: |context| Box::pin(suspension(context)),
    },
];

/// What has not come about by then will not.
const PATIENCE: Duration = Duration::from_secs(90);
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX_LABEL: &str = "batch.kubernetes.io/job-completion-index";
/// The API's times are whole seconds, rounded down.
const RESOLUTION: Duration = Duration::from_secs(1);

/// A Job, all of whose changes are noted, and those of its pods.
struct Stage {
    name: String,
    jobs: Journal<Job>,
    pods: Journal<Pod>,
}

impl Stage {
    /// Creates a Job of victims, with `spec` merged into its own.
    async fn create(context: &Context, arguments: &[&str], spec: Value) -> Result<Self, Shortfall> {
        let (jobs, pods) = (context.journal("app").await?, context.journal("app").await?);
        let template = json!({
            "metadata": {"labels": context.labels("app")},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 2,
                "containers": [context.victim(arguments)],
            },
        });
        let job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": context.name("app"), "labels": context.labels("app")},
            "spec": merged(json!({"template": template}), spec),
        });
        context.create::<Job>(job).await?;
        let name = context.name("app");
        Ok(Self { name, jobs, pods })
    }

    /// The Job when first it has this condition, which is true, and when that was told.
    async fn condition(&self, type_: &str) -> Result<(Instant, Job), Shortfall> {
        self.jobs
            .until(&format!("condition {type_}"), PATIENCE, |entries| {
                let mut entries = entries.iter();
                let entry = entries.find(|entry| condition(&entry.object, type_).is_some())?;
                Some((entry.at, Job::clone(&entry.object)))
            })
            .await
    }

    /// When a change of a pod was told that is as `wanted`.
    async fn pod(
        &self,
        what: &str,
        wanted: impl Fn(&Entry<Pod>) -> bool,
    ) -> Result<Entry<Pod>, Shortfall> {
        self.pods
            .until(what, PATIENCE, |entries| {
                entries.iter().find(|entry| wanted(entry)).cloned()
            })
            .await
    }
}

fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let mut conditions = conditions.iter();
    conditions.find(|condition| condition.type_ == type_ && condition.status == "True")
}

fn reason<'a>(job: &'a Job, type_: &str) -> &'a str {
    let condition = condition(job, type_);
    condition
        .and_then(|found| found.reason.as_deref())
        .unwrap_or("no reason")
}

/// Succeeded and failed pods.
fn counts(job: &Job) -> (i32, i32) {
    let status = job.status.as_ref();
    let of = |count: Option<i32>| count.unwrap_or_default();
    status.map_or((0, 0), |status| (of(status.succeeded), of(status.failed)))
}

fn phase(pod: &Pod) -> &str {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase.unwrap_or_default()
}

fn is_over(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

async fn indexes(context: Context) -> Finding {
    let spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2});
    let stage = Stage::create(&context, &["--exit-after", "500ms"], spec).await?;
    let (_, job) = stage.condition("Complete").await?;
    let told = job
        .status
        .as_ref()
        .and_then(|status| status.completed_indexes.clone());
    let told = told.unwrap_or_default();
    let entries = stage.pods.entries();
    let at_once = states(&entries)
        .map(|(_, pods)| pods.values().filter(|pod| !is_over(pod)).count())
        .max();
    let mut hosts = BTreeSet::new();
    for pod in context.list::<Pod>("app").await? {
        let log = context
            .api::<Pod>()
            .logs(&pod.name_any(), &LogParams::default())
            .await?;
        let host = log.split_whitespace().nth(3).unwrap_or_default();
        let index = pod.labels().get(INDEX_LABEL).cloned().unwrap_or_default();
        if host == format!("{}-{index}", stage.name) {
            hosts.insert(index);
        }
    }
    let hosts: Vec<String> = hosts.into_iter().collect();
    let at_once = at_once.unwrap_or_default();
    verdict(
        told == "0-2" && counts(&job) == (3, 0) && at_once <= 2 && hosts == ["0", "1", "2"],
        format!(
            "indexes {told}, {} succeeded, at most {at_once} at once, hosts of {}",
            counts(&job).0,
            hosts.join(", ")
        ),
    )
}

async fn failures(context: Context) -> Finding {
    let arguments = ["--exit-after", "200ms", "--exit-code", "1"];
    let stage = Stage::create(&context, &arguments, json!({"backoffLimit": 1})).await?;
    let failed = |entry: &Entry<Pod>| phase(&entry.object) == "Failed";
    let first = stage.pod("a pod has failed", failed).await?;
    let (_, job) = stage.condition("Failed").await?;
    let other = |entry: &Entry<Pod>| entry.object.name_any() != first.object.name_any();
    let second = stage.pod("there is a second pod", other).await?;
    let pause = second.at.saturating_duration_since(first.at);
    let reasons = [reason(&job, "FailureTarget"), reason(&job, "Failed")];
    let latest = Duration::from_secs(10) + RESOLUTION + context.bounds.epsilon;
    // The pause is counted from the end, which is told later.
    let earliest = Duration::from_secs(10) - RESOLUTION - context.bounds.epsilon;
    verdict(
        (earliest..=latest).contains(&pause)
            && counts(&job) == (0, 2)
            && reasons == ["BackoffLimitExceeded"; 2],
        format!(
            "the second pod after {:.1} s, {} failed, {}",
            pause.as_secs_f64(),
            counts(&job).1,
            reasons.join(" and ")
        ),
    )
}

async fn deadline(context: Context) -> Finding {
    let arguments = ["--on-term", "ignore"];
    let stage = Stage::create(&context, &arguments, json!({"activeDeadlineSeconds": 5})).await?;
    let has_started = |job: &Job| {
        job.status
            .as_ref()
            .is_some_and(|it| it.start_time.is_some())
    };
    let started = stage
        .jobs
        .until("the Job has started", PATIENCE, |entries| {
            Some(entries.iter().find(|entry| has_started(&entry.object))?.at)
        })
        .await?;
    let (decided, _) = stage.condition("FailureTarget").await?;
    let (told, job) = stage.condition("Failed").await?;
    let ended = |entry: &Entry<Pod>| is_over(&entry.object) || entry.change == Change::Deleted;
    let ended = stage.pod("the pod has ended", ended).await?.at;
    let after = decided.saturating_duration_since(started);
    let latest = Duration::from_secs(5) + RESOLUTION + context.bounds.epsilon;
    // Two watches tell of the same moment.
    let in_order = told + Duration::from_millis(200) >= ended;
    verdict(
        (Duration::from_secs(5) - RESOLUTION..=latest).contains(&after)
            && in_order
            && reason(&job, "Failed") == "DeadlineExceeded",
        format!(
            "{} decided after {:.1} s, told {} the pod's end",
            reason(&job, "Failed"),
            after.as_secs_f64(),
            if in_order { "after" } else { "before" }
        ),
    )
}

async fn counting(context: Context) -> Finding {
    let spec = json!({"completions": 2, "parallelism": 1});
    let stage = Stage::create(&context, &["--exit-after", "300ms"], spec).await?;
    let succeeded = |entry: &Entry<Pod>| phase(&entry.object) == "Succeeded";
    let first = stage.pod("a pod has succeeded", succeeded).await?;
    context.delete::<Pod>(&first.object.name_any()).await?;
    let (_, job) = stage.condition("Complete").await?;
    let entries = stage.pods.entries();
    let kept = |pod: &Pod| {
        pod.finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER)
    };
    let all_kept = entries
        .iter()
        .filter(|entry| !is_over(&entry.object))
        .all(|entry| kept(&entry.object));
    let pods: BTreeSet<String> = entries
        .iter()
        .map(|entry| entry.object.name_any())
        .collect();
    verdict(
        counts(&job) == (2, 0) && pods.len() == 2 && all_kept,
        format!(
            "{} pods, {} succeeded, {} failed, {} by the finalizer while they run",
            pods.len(),
            counts(&job).0,
            counts(&job).1,
            if all_kept { "kept" } else { "not kept" }
        ),
    )
}

async fn suspension(context: Context) -> Finding {
    let stage = Stage::create(&context, &[], json!({"completions": 1})).await?;
    let running = |entry: &Entry<Pod>| phase(&entry.object) == "Running";
    let first = stage.pod("a pod runs", running).await?;
    let suspend = async |suspend: bool| {
        let change = json!({"spec": {"suspend": suspend}});
        context.patch::<Job>(&stage.name, change).await
    };
    suspend(true).await?;
    let gone = |entry: &Entry<Pod>| entry.change == Change::Deleted;
    stage.pod("the pod is gone", gone).await?;
    let (_, job) = stage.condition("Suspended").await?;
    suspend(false).await?;
    let other =
        |entry: &Entry<Pod>| entry.object.name_any() != first.object.name_any() && running(entry);
    stage.pod("another pod runs", other).await?;
    let failed = counts(&job).1;
    verdict(
        failed == 0,
        format!("suspended with {failed} failures, resumed with another pod"),
    )
}
