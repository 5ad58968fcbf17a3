//! Jobs over a real store, with a clock and a node of the tests' own.

mod any_order;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::pods::is_tracked;
use super::*;
use crate::controllers::settle::Settling;

/// A Job in a store, and what its controller remembers.
struct Stage {
    store: Store,
    recorder: Recorder,
    memory: BackOff,
    now: Timestamp,
    again: Option<Duration>,
}

const NAMESPACE: &str = "default";

impl Stage {
    /// With a Job of this spec, its template left out.
    fn with(spec: &Value) -> Self {
        let store = Store::new();
        let recorder = Recorder::new(store.clone(), "job-controller");
        let mut job = json!({
            "metadata": {"name": "sums", "namespace": NAMESPACE},
            "spec": {
                "parallelism": 1,
                "backoffLimit": 6,
                "selector": {"matchLabels": {"app": "sums"}},
                "template": {
                    "metadata": {"labels": {"app": "sums"}},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
                },
            },
        });
        json_patch::merge(&mut job["spec"], spec);
        store.create(Resource::Jobs, job).unwrap();
        let mut stage = Self {
            store,
            recorder,
            memory: BackOff::default(),
            now: clock::now(),
            again: None,
        };
        stage.settle();
        stage
    }

    fn job(&self) -> Job {
        let job = self.store.get(Resource::Jobs, NAMESPACE, "sums").unwrap();
        Job::clone(&job.typed().unwrap())
    }

    fn change_spec(&self, spec: &Value) {
        let changed = self.store.update(Resource::Jobs, NAMESPACE, "sums", |job| {
            json_patch::merge(&mut job["spec"], spec);
        });
        changed.unwrap();
    }

    fn pods(&self) -> Vec<Pod> {
        let (pods, _) = self.store.list(Resource::Pods, None);
        let pods = pods.iter().filter_map(|pod| pod.typed::<Pod>());
        pods.map(|pod| Pod::clone(&pod)).collect()
    }

    fn active(&self) -> Vec<Pod> {
        let pods = self.pods().into_iter();
        pods.filter(crate::controllers::replica_set::is_active)
            .collect()
    }

    /// One look of the controller, which gets as far as removing `finalizers` of them.
    fn look(&mut self, finalizers: usize) -> Plan {
        let job = self.job();
        let pods = pods_of(&self.store, &job);
        let shape = Shape::of(&job).unwrap();
        let own = claim_pods(&self.store, &job, &pods).unwrap();
        let mut plan = plan(&job, &shape, &own, self.memory, self.now);
        plan.untrack.truncate(finalizers);
        carry_out(&self.store, &self.recorder, &job, &shape, &plan).unwrap();
        self.memory = plan.back_off;
        self.again = plan.again;
        plan
    }

    /// Looks until nothing changes any more. New pods start to run.
    fn settle(&mut self) {
        for _ in 0..20 {
            let before = self.store.list(Resource::Pods, None).1;
            self.look(usize::MAX);
            self.run_pods();
            if self.store.list(Resource::Pods, None).1 == before {
                return;
            }
        }
        panic!("it does not settle: {:#?}", self.job().status);
    }

    fn run_pods(&self) {
        for pod in self.active() {
            self.change(&pod, |pod| {
                pod["spec"]["nodeName"] = "local".into();
                pod["status"]["phase"] = "Running".into();
            });
        }
    }

    fn change(&self, pod: &Pod, change: impl FnOnce(&mut Value)) {
        change_pod(&self.store, NAMESPACE, &PodRef::to(pod), change).unwrap();
    }

    fn end(&self, pod: &Pod, phase: &str) {
        let at = clock::rfc3339(self.now);
        self.change(pod, |pod| {
            pod["status"] = json!({"phase": phase, "containerStatuses": [{
                "name": "c", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "finishedAt": at}},
            }]});
        });
    }

    fn end_all(&mut self, phase: &str) {
        for pod in self.active() {
            self.end(&pod, phase);
        }
        self.settle();
    }

    fn delete(&self, pod: &Pod) {
        delete_pod(&self.store, NAMESPACE, &PodRef::to(pod)).unwrap();
    }

    /// What the kubelet does when the processes of a deleted pod have ended.
    fn bury(&self, pod: &Pod) {
        let (name, uid) = (pod.metadata.name.as_deref().unwrap(), super::pods::uid(pod));
        let options = DeleteOptions::immediately(uid);
        let buried = self.store.delete(Resource::Pods, NAMESPACE, name, &options);
        gone_is_fine(buried.map(drop)).unwrap();
    }

    fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.settle();
    }

    /// Active, succeeded and failed.
    fn counts(&self) -> [i32; 3] {
        let status = self.job().status.unwrap_or_default();
        [status.active, status.succeeded, status.failed].map(Option::unwrap_or_default)
    }

    /// The conditions that hold, with their reasons.
    fn conditions(&self) -> Vec<(String, String)> {
        let conditions = self.job().status.unwrap_or_default().conditions;
        let holding = conditions
            .into_iter()
            .flatten()
            .filter(|found| found.status == "True");
        holding
            .map(|found| (found.type_, found.reason.unwrap_or_default()))
            .collect()
    }

    fn events(&self) -> Vec<String> {
        let (events, _) = self.store.list(Resource::Events, None);
        let mut reasons: Vec<_> = events
            .iter()
            .map(|event| object::text(event, "/reason").to_owned())
            .collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }
}

fn pair(type_: &str, reason: &str) -> (String, String) {
    (type_.to_owned(), reason.to_owned())
}

fn completed() -> Vec<(String, String)> {
    ["SuccessCriteriaMet", "Complete"]
        .map(|type_| pair(type_, "CompletionsReached"))
        .into()
}

fn failed(reason: &str) -> Vec<(String, String)> {
    ["FailureTarget", "Failed"]
        .map(|type_| pair(type_, reason))
        .into()
}

#[test]
fn as_many_pods_succeed_as_asked_for() {
    let mut stage = Stage::with(&json!({"completions": 3, "parallelism": 2}));
    assert_eq!(stage.counts(), [2, 0, 0]);
    stage.end_all("Succeeded");
    assert_eq!(stage.counts(), [1, 2, 0], "only one more is needed");
    stage.end_all("Succeeded");
    assert_eq!(stage.counts(), [0, 3, 0]);
    assert_eq!(stage.conditions(), completed());
    let status = stage.job().status.unwrap();
    assert!(status.start_time.is_some() && status.completion_time.is_some());
    assert_eq!(stage.events(), ["Completed", "SuccessfulCreate"]);
    assert_eq!(stage.pods().len(), 3, "pods stay, to be looked at");
    assert!(stage.pods().iter().all(|pod| !is_tracked(pod)));
}

#[test]
fn a_queue_is_done_when_one_has_succeeded_and_all_have_ended() {
    let mut stage = Stage::with(&json!({"parallelism": 3}));
    stage.end(&stage.active()[0], "Succeeded");
    stage.settle();
    assert_eq!(stage.counts(), [2, 1, 0], "nobody takes its place");
    stage.end_all("Succeeded");
    assert_eq!(stage.counts(), [0, 3, 0]);
    assert_eq!(stage.conditions(), completed());
}

#[test]
fn a_job_of_nothing_is_complete() {
    let stage = Stage::with(&json!({"completions": 0}));
    assert_eq!(stage.conditions(), completed());
}

#[test]
fn a_failed_pod_is_replaced_after_a_pause_which_doubles() {
    let mut stage = Stage::with(&json!({"completions": 1}));
    for pause in [10, 20, 40] {
        stage.end_all("Failed");
        assert_eq!(stage.active().len(), 0);
        assert_eq!(stage.again, Some(Duration::from_secs(pause)));
        stage.wait(i64::try_from(pause).unwrap() - 1);
        assert_eq!(stage.active().len(), 0);
        stage.wait(1);
        assert_eq!(stage.active().len(), 1);
    }
    assert_eq!(stage.counts(), [1, 0, 3]);
}

#[test]
fn too_many_failures_end_a_job() {
    let mut stage = Stage::with(&json!({"completions": 5, "parallelism": 3, "backoffLimit": 1}));
    for pod in &stage.active()[..2] {
        stage.end(pod, "Failed");
    }
    stage.settle();
    assert_eq!(
        stage.conditions(),
        [pair("FailureTarget", "BackoffLimitExceeded")]
    );
    assert_eq!(
        stage.counts(),
        [0, 0, 3],
        "the last one is deleted, which is a failure too"
    );
    assert_eq!(stage.job().status.unwrap().terminating, Some(1));
    let last = stage
        .pods()
        .into_iter()
        .find(super::pods::is_terminating)
        .unwrap();
    stage.bury(&last);
    stage.settle();
    assert_eq!(stage.conditions(), failed("BackoffLimitExceeded"));
    assert!(stage.events().contains(&"BackoffLimitExceeded".to_owned()));
}

#[test]
fn restarts_within_a_pod_count_against_the_limit() {
    let spec = json!({"backoffLimit": 2, "template": {"spec": {"restartPolicy": "OnFailure"}}});
    let mut stage = Stage::with(&spec);
    let restarted = |count: u32| json!([{"name": "c", "image": "i", "imageID": "i", "ready": true, "restartCount": count}]);
    let pod = &stage.active()[0];
    stage.change(pod, |pod| pod["status"]["containerStatuses"] = restarted(1));
    stage.settle();
    assert_eq!(stage.conditions(), []);
    stage.change(pod, |pod| pod["status"]["containerStatuses"] = restarted(2));
    stage.settle();
    assert_eq!(
        stage.conditions(),
        [pair("FailureTarget", "BackoffLimitExceeded")]
    );
}

#[test]
fn a_deadline_ends_a_job_that_takes_too_long() {
    let mut stage = Stage::with(&json!({"completions": 1, "activeDeadlineSeconds": 60}));
    assert_eq!(stage.again, Some(Duration::from_secs(60)));
    stage.wait(59);
    assert_eq!(stage.counts(), [1, 0, 0]);
    stage.wait(1);
    for pod in stage.pods() {
        stage.bury(&pod);
    }
    stage.settle();
    assert_eq!(stage.conditions(), failed("DeadlineExceeded"));
    assert_eq!(stage.counts(), [0, 0, 1]);
    assert!(stage.events().contains(&"DeadlineExceeded".to_owned()));
}

#[test]
fn a_deadline_may_lie_beyond_all_time() {
    let mut stage = Stage::with(&json!({"completions": 1, "activeDeadlineSeconds": i64::MAX}));
    stage.settle();
    assert_eq!(stage.conditions(), []);
}

#[test]
fn each_index_succeeds_once() {
    let spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 2});
    let mut stage = Stage::with(&spec);
    let index = |pod: &Pod| super::pods::index(pod, 4).unwrap();
    let mut at_work: Vec<_> = stage.active().iter().map(index).collect();
    at_work.sort_unstable();
    assert_eq!(at_work, [0, 1]);
    let pod = stage
        .active()
        .into_iter()
        .find(|pod| index(pod) == 1)
        .unwrap();
    stage.end(&pod, "Succeeded");
    stage.settle();
    assert_eq!(
        stage.job().status.unwrap().completed_indexes.as_deref(),
        Some("1")
    );
    for _ in 0..3 {
        stage.end_all("Succeeded");
    }
    let status = stage.job().status.unwrap();
    assert_eq!(status.completed_indexes.as_deref(), Some("0-3"));
    assert_eq!(stage.counts(), [0, 4, 0]);
    assert_eq!(stage.conditions(), completed());
}

#[test]
fn a_pod_of_an_indexed_job_knows_its_index() {
    let stage = Stage::with(&json!({"completionMode": "Indexed", "completions": 1}));
    let pod = stage.active().pop().unwrap();
    let metadata = &pod.metadata;
    assert!(
        metadata.name.as_ref().unwrap().starts_with("sums-0-"),
        "{metadata:?}"
    );
    assert_eq!(metadata.labels.as_ref().unwrap()[INDEX], "0");
    assert_eq!(metadata.annotations.as_ref().unwrap()[INDEX], "0");
    let spec = pod.spec.unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("sums-0"));
    let variables = spec.containers[0].env.as_ref().unwrap();
    let source = variables[0]
        .value_from
        .as_ref()
        .unwrap()
        .field_ref
        .as_ref()
        .unwrap();
    assert_eq!(variables[0].name, INDEX_VARIABLE);
    assert_eq!(source.field_path, format!("metadata.labels['{INDEX}']"));
}

#[test]
fn a_pod_is_of_the_class_its_requests_give_it() {
    let some = json!({"cpu": "100m", "memory": "64Mi"});
    let container =
        json!({"name": "c", "image": "i", "resources": {"limits": some, "requests": some}});
    let spec = json!({"template": {"spec": {"containers": [container]}}});
    let pod = Stage::with(&spec).active().pop().unwrap();
    let class = pod.status.unwrap().qos_class;
    assert_eq!(class.as_deref(), Some("Guaranteed"));
}

#[test]
fn names_leave_room_for_a_host_name() {
    let mut job = Stage::with(&json!({})).job();
    assert_eq!(name_prefix(&job, None), "sums-");
    job.metadata.name = Some("s".repeat(63));
    assert_eq!(name_prefix(&job, Some(12)).len(), LONGEST_NAME_PREFIX);
    assert!(name_prefix(&job, Some(12)).ends_with("s-12-"));
}

#[test]
fn a_suspended_job_has_no_pods_and_its_time_stands_still() {
    let mut stage = Stage::with(&json!({"completions": 1, "activeDeadlineSeconds": 60}));
    stage.change_spec(&json!({"suspend": true}));
    stage.settle();
    assert_eq!(stage.conditions(), [pair("Suspended", "JobSuspended")]);
    assert_eq!(
        stage.counts(),
        [0, 0, 0],
        "what is suspended has not failed"
    );
    stage.wait(100);
    stage.change_spec(&json!({"suspend": false}));
    stage.settle();
    assert_eq!(stage.conditions(), []);
    assert_eq!(stage.active().len(), 1);
    assert_eq!(stage.again, Some(Duration::from_secs(60)));
    let events = stage.events();
    assert!(events.contains(&"Suspended".to_owned()) && events.contains(&"Resumed".to_owned()));
}

#[test]
fn fewer_workers_are_no_failures() {
    let mut stage = Stage::with(&json!({"completions": 9, "parallelism": 4}));
    stage.change_spec(&json!({"parallelism": 1}));
    stage.settle();
    assert_eq!(stage.counts(), [1, 0, 0]);
    assert_eq!(stage.active().len(), 1);
}

#[test]
fn a_deleted_pod_failed_and_is_replaced_when_the_policy_says() {
    let mut stage = Stage::with(&json!({"completions": 1}));
    stage.delete(&stage.active()[0]);
    stage.settle();
    assert_eq!(stage.counts(), [0, 0, 1]);
    stage.wait(10);
    assert_eq!(
        stage.counts(),
        [1, 0, 1],
        "while the first still terminates"
    );

    let mut stage = Stage::with(&json!({"completions": 1, "podReplacementPolicy": "Failed"}));
    let pod = stage.active().pop().unwrap();
    stage.delete(&pod);
    stage.wait(10);
    assert_eq!(stage.counts(), [0, 0, 0]);
    stage.end(&pod, "Failed");
    stage.bury(&pod);
    stage.wait(10);
    assert_eq!(stage.counts(), [1, 0, 1]);
}

#[test]
fn a_pod_that_succeeded_counts_although_it_was_deleted_before_anyone_looked() {
    let mut stage = Stage::with(&json!({"completions": 1}));
    let pod = stage.active().pop().unwrap();
    stage.end(&pod, "Succeeded");
    stage.bury(&pod);
    assert_eq!(stage.pods().len(), 1, "its finalizer keeps it");
    stage.settle();
    assert_eq!(stage.pods(), []);
    assert_eq!(stage.counts(), [0, 1, 0]);
    assert_eq!(stage.conditions(), completed());
}

#[test]
fn nothing_is_lost_or_counted_twice_between_the_steps() {
    let mut stage = Stage::with(&json!({"completions": 2, "parallelism": 2}));
    for pod in stage.active() {
        stage.end(&pod, "Succeeded");
    }
    stage.look(1);
    let noted = stage
        .job()
        .status
        .unwrap()
        .uncounted_terminated_pods
        .unwrap();
    assert_eq!(noted.succeeded.unwrap().len(), 2);
    assert_eq!(stage.counts(), [0, 0, 0]);
    stage.look(0);
    assert_eq!(stage.counts(), [0, 1, 0], "one has lost its finalizer");
    stage.settle();
    assert_eq!(stage.counts(), [0, 2, 0]);
}

#[test]
fn a_job_is_removed_some_time_after_it_finished() {
    let mut stage = Stage::with(&json!({"completions": 1, "ttlSecondsAfterFinished": 30}));
    stage.end_all("Succeeded");
    assert_eq!(stage.again, Some(Duration::from_secs(30)));
    stage.now += SignedDuration::from_secs(30);
    stage.look(usize::MAX);
    assert!(stage.job().metadata.deletion_timestamp.is_some());
}

#[test]
fn a_deleted_job_lets_go_of_its_pods() {
    let stage = Stage::with(&json!({"completions": 2, "parallelism": 2}));
    let options = DeleteOptions::default();
    let deleted = stage
        .store
        .delete(Resource::Jobs, NAMESPACE, "sums", &options);
    deleted.unwrap();
    assert!(stage.pods().iter().all(is_tracked));
    let jobs = Box::new(Jobs::new(&stage.store));
    Settling::new(&stage.store, vec![jobs]).settle();
    assert!(!stage.pods().iter().any(is_tracked));
}

#[test]
fn a_job_that_someone_else_manages_is_left_alone() {
    let store = Stage::with(&json!({"suspend": true})).store;
    let changed = store.update(Resource::Jobs, NAMESPACE, "sums", |job| {
        job["spec"]["managedBy"] = "example.com/queue".into();
        job["spec"]["suspend"] = false.into();
    });
    changed.unwrap();
    Settling::new(&store, vec![Box::new(Jobs::new(&store))]).settle();
    assert_eq!(store.list(Resource::Pods, None).0.len(), 0);
}
