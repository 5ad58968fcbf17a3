//! `holdfast controller`: experiments as objects of a cluster.

use std::process::Child;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::holdfast::{eventually, finish, holdfast, processes_of, wait, workspace};
use crate::standing::{Standing, pid};

#[test]
fn the_definitions_in_the_repository_are_those_that_are_printed() {
    let printed = finish(holdfast("definitions").args(["controller", "--print-definitions"]));
    let kept = ["experiments", "faultinjections"].map(|kind| {
        let file = workspace().join(format!("k8s/crds/{kind}.yaml"));
        std::fs::read_to_string(file).unwrap()
    });
    assert_eq!(
        printed.out,
        kept.join("---\n"),
        "k8s/crds has what `holdfast controller --print-definitions` prints"
    );
}

fn start(standing: &Standing) -> Child {
    let child = standing.holdfast(&["controller"]).spawn().unwrap();
    eventually("the controller has defined its objects", || {
        let definitions = standing.try_kubectl(&["get", "experiments"]);
        definitions.is_ok()
    });
    child
}

fn status(standing: &Standing) -> Value {
    let found = standing.kubectl(&["get", "experiment", "tiny", "-o", "json"]);
    let mut found: Value = serde_json::from_str(&found).unwrap();
    found["status"].take()
}

#[test]
fn an_experiment_is_carried_out_and_its_verdict_shown() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let controller = start(&standing);
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    eventually("the experiment is over", || {
        status(&standing)["finishedAt"].is_string()
    });
    let status = status(&standing);
    assert_eq!(status["exitCode"], 0, "{status}");
    assert_eq!(status["conditions"][0]["type"], "Judged", "{status}");
    let requests = status["figures"]["requests"].as_u64();
    assert!(requests.is_some_and(|requests| requests > 50), "{status}");
    let report = standing.file(status["report"].as_str().unwrap());
    assert!(report.join("report.html").is_file(), "{status}");
    assert!(standing.has_no_system());

    let shown = standing.kubectl(&["get", "experiments"]);
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let columns = ["NAME", "PHASE", "VERDICT", "AVAILABILITY", "AGE"];
    assert_eq!(rows[0], columns, "{shown}");
    assert_eq!(rows[1][..3], ["tiny", "Finished", "Passed"], "{shown}");

    kill(pid(&controller), Signal::SIGTERM).unwrap();
    let ended = wait(controller);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.err);
    assert_eq!(processes_of(&standing.marker), [""; 0]);
}

#[test]
fn a_mistake_stands_in_the_condition() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let mut controller = start(&standing);
    let file = standing.file("tiny.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("thinkTime", "thinkTimes")).unwrap();
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    eventually("the experiment is refused", || {
        status(&standing)["phase"] == "Refused"
    });
    let status = status(&standing);
    assert_eq!(status["exitCode"], 2, "{status}");
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("thinkTimes"), "{message}");
    controller.kill().unwrap();
    controller.wait().unwrap();
}

#[test]
fn deleting_an_experiment_ends_its_run_and_undoes_its_faults_first() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let mut controller = start(&standing);
    let file = standing.file("tiny.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("hold: 2s, length: 6s", "hold: 60s, length: 65s");
    std::fs::write(&file, text).unwrap();
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    standing.until_injected();
    standing.kubectl(&["delete", "experiment", "tiny"]);
    assert!(standing.has_no_system());
    controller.kill().unwrap();
    controller.wait().unwrap();
}

#[test]
fn a_controller_that_is_started_again_undoes_what_the_last_one_has_left() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let mut controller = start(&standing);
    let file = standing.file("tiny.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("hold: 2s, length: 6s", "hold: 60s, length: 65s");
    std::fs::write(&file, text).unwrap();
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    standing.until_injected();
    controller.kill().unwrap();
    controller.wait().unwrap();

    let mut controller = start(&standing);
    eventually("the experiment is over", || {
        status(&standing)["phase"] == "Refused"
    });
    assert_eq!(status(&standing)["exitCode"], 3);
    assert!(standing.has_no_system());
    controller.kill().unwrap();
    controller.wait().unwrap();
}
