//! What a fault could change, as it is at some moment.

use std::thread::sleep;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::PAUSE;
use crate::agent::is_stopped;
use crate::holdfast::processes_of;
use crate::standing::Standing;

/// How long after a fault's `notAfter` something of it may still be there.
const LATEST: SignedDuration = SignedDuration::from_secs(10);
/// What a restart sets, whoever asks for it.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

#[derive(Debug, PartialEq)]
pub(super) struct Picture {
    /// What is wanted, object by object.
    wanted: Vec<Value>,
    ready_pods: usize,
    pods: usize,
    stopped: Vec<i32>,
}

/// What faults change or make.
const KINDS: [&str; 7] = [
    "/apis/apps/v1/namespaces/tiny/deployments",
    "/api/v1/namespaces/tiny/services",
    "/api/v1/namespaces/tiny/configmaps",
    "/apis/autoscaling/v2/namespaces/tiny/horizontalpodautoscalers",
    "/apis/policy/v1/namespaces/tiny/poddisruptionbudgets",
    "/apis/coordination.k8s.io/v1/namespaces/tiny/leases",
    "/api/v1/nodes",
];

impl Picture {
    pub(super) fn of(standing: &Standing) -> Self {
        let items = |path: &str| {
            let mut found = standing.get(path).unwrap();
            found["items"].as_array_mut().map(std::mem::take).unwrap()
        };
        let mut wanted = standing.faults();
        for path in KINDS {
            wanted.extend(items(path).iter().map(|object| self::wanted(path, object)));
        }
        let pods = items("/api/v1/namespaces/tiny/pods");
        let mut stopped = standing.processes();
        stopped.retain(|pid| is_stopped(*pid));
        Self {
            wanted,
            ready_pods: pods.iter().filter(|pod| is_ready(pod)).count(),
            pods: pods.len(),
            stopped,
        }
    }

    pub(super) fn is_whole(&self, pods: usize) -> bool {
        self.ready_pods == pods && self.pods == pods && self.stopped.is_empty()
    }

    /// Waits until everything is as it was, and no process of the run is left.
    pub(super) fn is_there_again(&self, standing: &Standing, not_after: Timestamp, what: &str) {
        loop {
            let now = Self::of(standing);
            let processes = processes_of(&standing.marker);
            if now == *self && processes.is_empty() {
                return;
            }
            let residue = self.difference(&now);
            assert!(
                Timestamp::now() < not_after + LATEST,
                "{residue}{processes:#?}\n{what}"
            );
            sleep(PAUSE);
        }
    }

    /// What there was and what there is now, as far as they differ.
    fn difference(&self, now: &Self) -> String {
        let others = |these: &Self, those: &Self| Self {
            wanted: these
                .wanted
                .iter()
                .filter(|one| !those.wanted.contains(one))
                .cloned()
                .collect(),
            stopped: these.stopped.clone(),
            ..*these
        };
        format!(
            "before: {:#?}\nnow: {:#?}\n",
            others(self, now),
            others(now, self)
        )
    }
}

fn wanted(path: &str, object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    // A Service that is made anew has another address.
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    // A restart leaves its time, as a person's would.
    let template = spec.pointer_mut("/template/metadata");
    if let Some(template) = template.and_then(Value::as_object_mut) {
        let annotations = template
            .get_mut("annotations")
            .and_then(Value::as_object_mut);
        let restarted = annotations.and_then(|all| all.remove(RESTARTED_AT));
        if restarted.is_some() && template["annotations"] == json!({}) {
            template.remove("annotations");
        }
    }
    json!({
        "path": path,
        "name": object["metadata"]["name"],
        "labels": object["metadata"]["labels"],
        "spec": spec,
        "data": object["data"],
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}
