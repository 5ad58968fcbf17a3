//! Whatever is broken, however the run ends and whatever happens meanwhile: soon after, everything is
//! as it was before.

use std::process::{Child, Command};
use std::thread::{scope, sleep};
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};

use crate::holdfast::wait;
use crate::standing::{LONG, NAMESPACE, Standing, pid};

mod at_once;
mod picture;
mod tripped;

use picture::Picture;

/// Every kind that the local cluster can carry out, but for the drain of a node, which takes the pods
/// of all others. `diskFull` it cannot: it mounts nothing, and the agent refuses to fill the machine's
/// disk. Nor has it StatefulSets for a `dependencyOutage`.
const FAULTS: [&str; 16] = [
    "podKill: {deployment: web, count: 1}",
    "podKill: {deployment: web, count: 1, every: 2s}",
    "podFreeze: {deployment: web, count: 1}",
    "probeFlap: {deployment: web, count: 1, down: 4s, up: 1s}",
    "scale: {deployment: web, replicas: 1}",
    "dependencyOutage: {deployment: web}",
    "serviceDown: {service: web}",
    "throttle: {service: web, delay: 50ms}",
    "throttle: {service: web, from: {deployment: web, env: PEER_URL}, blackhole: true}",
    "configChange: {configMap: limits, set: {MAX: \"0\"}, restart: [web]}",
    "hpa: {create: {deployment: web, minReplicas: 3, maxReplicas: 3, cpu: 50}}",
    "hpa: {remove: idle}",
    "rollout: {deployment: web, setEnv: {VERSION: v2}}",
    "rollout: {deployment: web, restart: true}",
    "cpuPressure: {deployment: web, workers: 1, load: 10}",
    "memoryPressure: {deployment: web, bytes: 1Mi}",
];

/// What some of them take: a ConfigMap, and an autoscaler to be removed. What that would scale is not
/// there: it must not meddle with the others. And a second node, which runs no pods, for a drain needs
/// another one.
const TAKEN: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: limits}
data: {MAX: \"10\"}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: idle}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: nothing}
  minReplicas: 2
  maxReplicas: 5
---
apiVersion: v1
kind: Node
metadata: {name: other}
";

/// Between two looks at a cluster.
const PAUSE: Duration = Duration::from_millis(500);

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
    scope(|scope| {
        for (standing, signal, code) in endings {
            scope.spawn(move || each_fault_is_undone_after(standing, signal, code));
        }
    });
}

fn each_fault_is_undone_after(standing: &Standing, signal: Signal, code: Option<i32>) {
    standing.bring_up();
    std::fs::write(standing.file("taken.yaml"), TAKEN).unwrap();
    standing.kubectl(&["-n", NAMESPACE, "apply", "-f", "taken.yaml"]);
    let before = Picture::of(standing);
    assert!(before.is_whole(2), "{before:#?}");
    for fault in FAULTS.into_iter().chain(["nodeDrain: {nodeOf: web}"]) {
        standing.write_running("broken.yaml", fault);
        let child = begin(standing, &mut standing.run("broken.yaml", &LONG), 1);
        let not_after = not_after(standing);
        kill(pid(&child), signal).unwrap();
        // Where the run is killed, this waits for its janitor, which writes where the run did.
        let ended = wait(child);
        assert_eq!(ended.status.code(), code, "{fault}: {}", ended.err);
        before.is_there_again(standing, not_after, &format!("{fault}: {}", ended.err));
    }
}

/// Starts a run, and waits until all of its faults are in effect.
fn begin(standing: &Standing, run: &mut Command, faults: usize) -> Child {
    let mut child = run.spawn().unwrap();
    while !are_injected(standing, faults) {
        let is_over = child.try_wait().unwrap().is_some();
        assert!(!is_over, "the run is over: {}", wait(child).err);
        sleep(PAUSE);
    }
    child
}

fn are_injected(standing: &Standing, faults: usize) -> bool {
    let phases = standing.phases();
    phases.len() == faults && phases.iter().all(|phase| phase == "Injected")
}

/// The first time at which a fault is undone, whatever happens.
fn not_after(standing: &Standing) -> Timestamp {
    let faults = standing.faults().into_iter();
    let all = faults.map(|fault| fault["spec"]["notAfter"].as_str().unwrap().parse().unwrap());
    all.min().unwrap()
}
