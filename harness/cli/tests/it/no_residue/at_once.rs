//! All faults in effect at once, each with targets of its own, and then something happens: to who
//! carries them out, to the API server, or to the targets.

use std::thread::{scope, sleep};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::picture::Picture;
use super::{FAULTS, PAUSE, TAKEN, are_injected, begin, not_after};
use crate::controller;
use crate::holdfast::{Finished, eventually, wait};
use crate::relay::Relay;
use crate::standing::{LONG, NAMESPACE, SYSTEM, Standing, pid};

/// All faults take their time to begin and to end, one after the other, more of it on a busy machine.
const LONGER: [&str; 4] = ["--set", "hold=2m", "--set", "length=125s"];

/// How long the API server is gone.
const OUTAGE: Duration = Duration::from_secs(30);

/// How long before the faults' end it goes.
const EARLIER: SignedDuration = SignedDuration::from_secs(25);
/// From a fault's end until its `notAfter`.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// Something that happens to targets.
type Happening = (&'static str, fn(&Standing));

const HAPPENINGS: [Happening; 4] = [
    ("the targets' processes are killed", kill_processes),
    ("all pods are deleted by force", delete_pods),
    ("the targets' pods are replaced", restart),
    ("the targets are deleted and made anew", make_anew),
];

#[test]
fn nothing_that_happens_meanwhile_leaves_anything_of_any_fault() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let second = standing.beside();
    scope(|scope| {
        scope.spawn(|| {
            let before = lay(&standing);
            everything_is_undone_whatever_becomes_of_the_targets(&standing, &before);
        });
        scope.spawn(|| {
            let before = lay(&second);
            everything_is_undone_after_a_time_without_the_api_server(&second, &before);
            everything_is_undone_by_a_controller_that_is_started_again(&second, &before);
        });
    });
}

fn everything_is_undone_whatever_becomes_of_the_targets(standing: &Standing, before: &Picture) {
    for (what, happen) in HAPPENINGS {
        let run = &mut standing.run("broken.yaml", &LONGER);
        let child = begin(standing, run, faults().len());
        let not_after = not_after(standing);
        happen(standing);
        kill(pid(&child), Signal::SIGINT).unwrap();
        let ended = wait(child);
        assert_eq!(ended.status.code(), Some(130), "{what}: {}", ended.err);
        before.is_there_again(standing, not_after, &format!("{what}: {}", ended.err));
    }
}

/// Holdfast has no API server for a time, in the midst of which all faults are to end. The cluster's own
/// components are one process with it, and go on.
fn everything_is_undone_after_a_time_without_the_api_server(standing: &Standing, before: &Picture) {
    let relay = Relay::start(standing);
    let mut run = standing.run("broken.yaml", &LONG);
    run.env("KUBECONFIG", Relay::kubeconfig(standing));
    let faults = faults().len();
    let child = begin(standing, &mut run, faults);
    let not_after = not_after(standing);
    sleep_until(not_after - MARGIN - EARLIER);
    drop(relay);
    sleep(OUTAGE);
    assert!(are_injected(standing, faults), "there was an API server");
    let _again = Relay::start(standing);
    let ended = wait(child);
    assert_ne!(ended.status.code(), Some(5), "{}", ended.err);
    before.is_there_again(standing, not_after, &ended.err);
}

fn sleep_until(time: Timestamp) {
    let left = time.duration_since(Timestamp::now());
    sleep(left.try_into().unwrap_or_default());
}

fn everything_is_undone_by_a_controller_that_is_started_again(
    standing: &Standing,
    before: &Picture,
) {
    let file = standing.file("broken.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    // Its run outlasts the test.
    let text = text.replace("hold: 2s, length: 6s", "hold: 2m, length: 125s");
    std::fs::write(&file, text).unwrap();
    let killed = controller::start(standing);
    standing.kubectl(&["apply", "-f", "broken.yaml"]);
    while !are_injected(standing, faults().len()) {
        let status = controller::status(standing);
        assert!(!status["finishedAt"].is_string(), "{status}");
        sleep(PAUSE);
    }
    let not_after = not_after(standing);
    controller::end(killed);
    let again = controller::start(standing);
    eventually("the experiment is over", || {
        sleep(PAUSE);
        controller::status(standing)["phase"] == "Refused"
    });
    // What it has of its own is no residue.
    kill(pid(&again), Signal::SIGTERM).unwrap();
    let Finished { status, err, .. } = wait(again);
    assert_eq!(status.code(), Some(0), "{err}");
    before.is_there_again(standing, not_after, &err);
}

/// The faults, each with its own targets. The drain of a node is not among them: it takes the pods of
/// all others. It meets these ends in the tests of the faults' own crate.
fn faults() -> Vec<String> {
    let faults = FAULTS.iter().enumerate();
    faults
        .map(|(index, fault)| fault.replace("web", &target(index)))
        .collect()
}

fn target(index: usize) -> String {
    format!("web-{index}")
}

/// Makes the targets and the experiment; returns how the cluster looks before.
fn lay(standing: &Standing) -> Picture {
    standing.bring_up();
    let targets = FAULTS.iter().enumerate();
    let targets: Vec<_> = targets.filter(|(_, fault)| fault.contains("web")).collect();
    // The load is sent to the system that nothing happens to.
    let pods = 2 * (targets.len() + 1);
    let (scaled, others): (Vec<_>, Vec<_>) = targets
        .into_iter()
        .map(|(index, fault)| (fault, SYSTEM.replace("web", &target(index))))
        .partition(|(fault, _)| fault.starts_with("hpa: {create"));
    for (file, targets) in [("scaled.yaml", scaled), ("others.yaml", others)] {
        let manifests = targets.into_iter().map(|(_, manifest)| manifest + "---\n");
        let text: String = manifests.chain([TAKEN.to_owned()]).collect();
        std::fs::write(standing.file(file), text).unwrap();
        apply(standing, file);
    }
    standing.write_running_all("broken.yaml", &faults());
    eventually("all pods are ready", || {
        sleep(PAUSE);
        Picture::of(standing).is_whole(pods)
    });
    Picture::of(standing)
}

fn apply(standing: &Standing, file: &str) {
    standing.kubectl(&["-n", NAMESPACE, "apply", "-f", file]);
}

fn kill_processes(standing: &Standing) {
    for process in standing.processes() {
        // One that is gone by now needs no signal.
        kill(Pid::from_raw(process), Signal::SIGKILL).unwrap_or_default();
    }
}

/// The agents' as well: a node takes all of its pods with it.
fn delete_pods(standing: &Standing) {
    let by_force = ["--all", "--force", "--grace-period=0", "--wait=false"];
    standing.kubectl(&[&["-n", NAMESPACE, "delete", "pods"], by_force.as_slice()].concat());
}

fn restart(standing: &Standing) {
    standing.kubectl(&["-n", NAMESPACE, "rollout", "restart", "deployment"]);
}

/// But for what an autoscaler scales: it scales whatever has that name, and what else was wanted of one
/// that is made anew nobody knows when the autoscaler is gone.
fn make_anew(standing: &Standing) {
    // A fault has removed one of them.
    let delete = ["delete", "-f", "others.yaml", "--ignore-not-found"];
    standing.kubectl(&[&["-n", NAMESPACE], delete.as_slice()].concat());
    apply(standing, "others.yaml");
}
