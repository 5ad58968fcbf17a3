//! `holdfast controller`: experiments as objects of a cluster.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

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

pub(crate) fn start(standing: &Standing) -> Child {
    start_in(standing, &[])
}

fn start_in(standing: &Standing, scope: &[&str]) -> Child {
    let mut command = standing.holdfast(&["controller"]);
    let child = command.args(scope).spawn().unwrap();
    eventually("the controller has defined its objects", || {
        let definitions = standing.try_kubectl(&["get", "experiments"]);
        definitions.is_ok()
    });
    child
}

pub(crate) fn status(standing: &Standing) -> Value {
    status_of(standing, "tiny")
}

fn status_of(standing: &Standing, name: &str) -> Value {
    let found = standing.kubectl(&["get", "experiment", name, "-o", "json"]);
    let mut found: Value = serde_json::from_str(&found).unwrap();
    found["status"].take()
}

/// Changes the file of the experiment.
fn rewrite(standing: &Standing, from: &str, to: &str) {
    let file = standing.file("tiny.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
}

/// The run met its objectives, unless the machine was so busy that it voids itself.
fn assert_passed(status: &Value) {
    let reasons = status["reasons"].to_string();
    let is_void = status["exitCode"] == 3 && reasons.contains("\"invalid: ");
    assert!(status["exitCode"] == 0 || is_void, "{status}");
}

/// Makes its run outlast the test.
fn prolong(standing: &Standing) {
    rewrite(standing, "hold: 2s, length: 6s", "hold: 60s, length: 65s");
}

pub(crate) fn end(mut controller: Child) {
    controller.kill().unwrap();
    controller.wait().unwrap();
}

/// Which phases an Experiment may be in, as far as the cluster is concerned.
fn permit_phases(standing: &Standing, phases: &Value) {
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/phase/enum";
    let patch = json!([{"op": "replace", "path": path, "value": phases}]).to_string();
    let crd = "experiments.holdfast.dev";
    standing.kubectl(&["patch", "crd", crd, "--type", "json", "-p", &patch]);
}

#[test]
fn a_cluster_takes_every_experiment_of_the_repository() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let folder = |name| workspace().join(name).to_str().unwrap().to_owned();
    standing.kubectl(&["apply", "-f", &folder("k8s/crds")]);
    eventually("the definitions are served", || {
        standing.try_kubectl(&["get", "experiments"]).is_ok()
    });
    let taken = standing.kubectl(&["apply", "--dry-run=server", "-f", &folder("experiments")]);
    let files = std::fs::read_dir(workspace().join("experiments")).unwrap();
    let files = files.filter(|file| {
        let path = file.as_ref().unwrap().path();
        path.extension().is_some_and(|end| end == "yaml")
    });
    assert_eq!(taken.lines().count(), files.count(), "{taken}");
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
    assert_passed(&status);
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
    assert_eq!(rows[1][..2], ["tiny", "Finished"], "{shown}");
    assert_eq!(rows[1][2], status["verdict"], "{shown}");

    // What is refused now has no verdict, whatever there was before.
    rewrite(&standing, "thinkTime", "thinkTimes");
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    eventually("the experiment is refused", || {
        self::status(&standing)["phase"] == "Refused"
    });
    let refused = self::status(&standing);
    for field in ["verdict", "figures", "report", "run", "undo"] {
        assert_eq!(refused[field], Value::Null, "{field}: {refused}");
    }

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
    let controller = start(&standing);
    rewrite(&standing, "thinkTime", "thinkTimes");
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    eventually("the experiment is refused", || {
        status(&standing)["phase"] == "Refused"
    });
    let status = status(&standing);
    assert_eq!(status["exitCode"], 2, "{status}");
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("thinkTimes"), "{message}");
    end(controller);
}

#[test]
fn deleting_an_experiment_ends_its_run_and_undoes_its_faults_first() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let controller = start(&standing);
    prolong(&standing);
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    standing.until_injected();
    standing.kubectl(&["delete", "experiment", "tiny"]);
    assert!(standing.has_no_system());
    end(controller);
}

#[test]
fn a_controller_that_is_started_again_undoes_what_the_last_one_has_left() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let controller = start(&standing);
    prolong(&standing);
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    standing.until_injected();
    end(controller);

    let controller = start(&standing);
    eventually("the experiment is over", || {
        status(&standing)["phase"] == "Refused"
    });
    assert_eq!(status(&standing)["exitCode"], 3);
    assert!(standing.has_no_system());
    end(controller);
}

#[test]
fn one_experiment_runs_at_a_time_and_the_other_says_for_whom_it_waits() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let controller = start(&standing);
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    eventually("the first one runs", || {
        status(&standing)["phase"] == "Running"
    });
    // Of the same system: were both there at once, the second one would be refused.
    rewrite(&standing, "name: tiny}", "name: other}");
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    eventually("the other one waits", || {
        status_of(&standing, "other")["phase"] == "Pending"
    });
    let waiting = status_of(&standing, "other");
    let condition = &waiting["conditions"][0];
    assert_eq!(condition["reason"], "Waiting", "{waiting}");
    assert_eq!(condition["message"], "waits for experiment default/tiny");
    assert_eq!(status(&standing)["phase"], "Running", "{waiting}");

    eventually("the other one is over", || {
        status_of(&standing, "other")["finishedAt"].is_string()
    });
    let (first, other) = (status(&standing), status_of(&standing, "other"));
    assert_passed(&first);
    assert_passed(&other);
    let time = |status: &Value, field: &str| status[field].as_str().unwrap().to_owned();
    assert!(time(&other, "startedAt") >= time(&first, "finishedAt"));
    end(controller);
}

#[test]
fn what_a_lost_run_has_left_is_undone_whatever_the_experiment_says_now() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let controller = start(&standing);
    prolong(&standing);
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    standing.until_injected();
    end(controller);
    rewrite(&standing, "thinkTime", "thinkTimes");
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);

    // Its experiments alone: what they break is in another namespace.
    let controller = start_in(&standing, &["--namespace", "default"]);
    eventually("the mistake is told", || status(&standing)["exitCode"] == 2);
    assert!(standing.has_no_system());
    end(controller);
}

#[test]
fn a_verdict_that_the_cluster_does_not_take_is_told_when_it_does() {
    let Some(standing) = Standing::start() else {
        return;
    };
    let mut controller = start(&standing);
    standing.kubectl(&["apply", "-f", "tiny.yaml"]);
    eventually("the experiment runs", || {
        status(&standing)["phase"] == "Running"
    });
    permit_phases(&standing, &json!(["Pending", "Running"]));
    let said = BufReader::new(controller.stderr.take().unwrap()).lines();
    let mut said = said.map_while(Result::ok);
    assert!(said.any(|line| line.contains("cannot tell the status")));
    assert_eq!(status(&standing)["phase"], "Running");
    permit_phases(
        &standing,
        &json!(["Pending", "Running", "Finished", "Refused"]),
    );
    eventually("the verdict is told", || {
        status(&standing)["phase"] == "Finished"
    });
    assert_passed(&status(&standing));
    end(controller);
}
