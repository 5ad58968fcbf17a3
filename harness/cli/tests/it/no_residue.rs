//! Whatever is broken and however the run ends: soon after, everything is as it was before.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::agent::{is_stopped, processes};
use crate::holdfast::{eventually, processes_of, wait};
use crate::standing::{LONG, NAMESPACE, Standing, pid};

/// Every kind that the local cluster can carry out: it has one node, and no volumes to fill. A restart
/// is not among them, for it leaves its time, as a person's would.
const FAULTS: [&str; 14] = [
    "podKill: {deployment: web, count: 1, every: 2s}",
    "podFreeze: {deployment: web, count: 1}",
    "probeFlap: {deployment: web, count: 1, down: 4s, up: 1s}",
    "scale: {deployment: web, replicas: 1}",
    "dependencyOutage: {deployment: web}",
    "serviceDown: {service: web}",
    "throttle: {service: web, delay: 50ms}",
    "throttle: {service: web, from: {deployment: web, env: PEER_URL}, blackhole: true}",
    "configChange: {configMap: limits, set: {MAX: \"0\"}}",
    "hpa: {create: {deployment: web, minReplicas: 1, maxReplicas: 3, cpu: 50}}",
    "hpa: {remove: idle}",
    "rollout: {deployment: web, setEnv: {VERSION: v2}}",
    "cpuPressure: {deployment: web, workers: 1, load: 10}",
    "memoryPressure: {deployment: web, bytes: 1Mi}",
];

/// An autoscaler to be removed. What it would scale is not there: it must not meddle with the others.
const AUTOSCALER: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: idle}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: nothing}
  minReplicas: 2
  maxReplicas: 5
";

/// How long after a fault's `notAfter` something of it may still be there.
const LATEST: SignedDuration = SignedDuration::from_secs(10);

#[test]
fn no_ending_leaves_anything_of_any_fault() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let (second, third) = (standing.beside(), standing.beside());
    let endings = [
        (&standing, Signal::SIGINT, Some(130)),
        (&second, Signal::SIGTERM, Some(143)),
        (&third, Signal::SIGKILL, None),
    ];
    std::thread::scope(|scope| {
        for (standing, signal, code) in endings {
            scope.spawn(move || each_fault_is_undone_after(standing, signal, code));
        }
    });
}

fn each_fault_is_undone_after(standing: &Standing, signal: Signal, code: Option<i32>) {
    standing.bring_up();
    let limits = ["create", "configmap", "limits", "--from-literal=MAX=10"];
    standing.kubectl(&[&["-n", NAMESPACE], limits.as_slice()].concat());
    std::fs::write(standing.file("autoscaler.yaml"), AUTOSCALER).unwrap();
    standing.kubectl(&["-n", NAMESPACE, "create", "-f", "autoscaler.yaml"]);
    let before = Picture::of(standing);
    assert!(before.is_whole(), "{before:?}");
    for fault in FAULTS {
        standing.write_running("broken.yaml", fault);
        let mut child = standing.run("broken.yaml", &LONG).spawn().unwrap();
        let mut over = false;
        eventually(&format!("{fault} is injected"), || {
            over = child.try_wait().unwrap().is_some();
            over || standing.phases() == ["Injected"]
        });
        assert!(!over, "{fault}: {}", wait(child).err);
        let latest = not_after(standing) + LATEST;
        kill(pid(&child), signal).unwrap();
        // Where the run is killed, this waits for its janitor, which writes where the run did.
        let ended = wait(child);
        assert_eq!(ended.status.code(), code, "{fault}: {}", ended.err);
        loop {
            let now = Picture::of(standing);
            if now == before && processes_of(&standing.marker).is_empty() {
                break;
            }
            let residue = format!("{fault}: {now:#?}\n{}", ended.err);
            assert!(Timestamp::now() < latest, "{residue}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn not_after(standing: &Standing) -> Timestamp {
    let path = "jsonpath={.items[0].spec.notAfter}";
    let told = standing.kubectl(&["-n", NAMESPACE, "get", "faultinjections", "-o", path]);
    told.parse().unwrap()
}

/// What a fault could change.
#[derive(Debug, PartialEq)]
struct Picture {
    /// What is wanted, object by object.
    wanted: Vec<Value>,
    ready_pods: usize,
    pods: usize,
    stopped: Vec<i32>,
}

impl Picture {
    fn of(standing: &Standing) -> Self {
        let list = |kinds: &str| {
            let found = standing.kubectl(&["-n", NAMESPACE, "get", kinds, "-o", "json"]);
            let mut found: Value = serde_json::from_str(&found).unwrap();
            let Value::Array(items) = found["items"].take() else {
                panic!("{found}");
            };
            items
        };
        let kinds = "deployments,services,configmaps,horizontalpodautoscalers,\
                     poddisruptionbudgets,leases";
        let mut wanted: Vec<Value> = list(kinds).iter().map(wanted).collect();
        if standing
            .try_kubectl(&["get", "crd", "faultinjections.holdfast.dev"])
            .is_ok()
        {
            wanted.extend(list("faultinjections").iter().map(self::wanted));
        }
        let pods = list("pods");
        let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap().to_owned();
        let running = pods.iter().flat_map(|pod| processes(&uid(pod), "victim"));
        Self {
            wanted,
            ready_pods: pods.iter().filter(|pod| is_ready(pod)).count(),
            pods: pods.len(),
            stopped: running.filter(|pid| is_stopped(*pid)).collect(),
        }
    }

    fn is_whole(&self) -> bool {
        self.ready_pods == 2 && self.pods == 2 && self.stopped.is_empty()
    }
}

fn wanted(object: &Value) -> Value {
    json!({
        "kind": object["kind"],
        "name": object["metadata"]["name"],
        "labels": object["metadata"]["labels"],
        "spec": object["spec"],
        "data": object["data"],
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}
