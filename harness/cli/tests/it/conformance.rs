//! `holdfast cluster check`, and `holdfast cluster up` without manifests.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::holdfast::{eventually, finish, holdfast, the_machine, tool, wait};

fn check(arguments: &[&str]) -> Command {
    let mut command = holdfast("check");
    command.args(["cluster", "check"]).args(arguments);
    command
}

#[test]
fn the_list_has_every_check_of_the_design() {
    let listed = finish(&mut check(&["--list"]));
    assert_eq!(listed.status.code(), Some(0), "{}", listed.err);
    let mut lines = listed.out.lines();
    assert_eq!(
        lines.next(),
        Some(
            "  1  Rollout  Bad release: 4 replicas, v2 never ready: at most 2 new pods, at least 3 available, never complete"
        )
    );
    let one = finish(&mut check(&["--list", "--group", "hpa", "--only", "42,6"]));
    assert_eq!(
        one.out,
        " 42  HPA      Scaling in: 300 s after the last decision under load, not before\n"
    );
}

#[test]
fn an_unknown_number_group_or_folder_is_bad_input() {
    let number = finish(&mut check(&["--only", "999"]));
    assert_eq!(number.status.code(), Some(2));
    assert!(
        number.err.contains("no check 999") && number.err.contains("there are 1, 2, 3"),
        "{}",
        number.err
    );
    let group = finish(&mut check(&["--group", "Pods"]));
    assert_eq!(group.status.code(), Some(2));
    assert!(
        group.err.contains("Rollout, Pod, Service, HPA, API"),
        "{}",
        group.err
    );
    let folder = finish(&mut check(&["--only", "6", "--out", "/proc/none"]));
    assert_eq!(folder.status.code(), Some(2));
    assert!(folder.err.contains("/proc/none"), "{}", folder.err);
}

const UNREACHABLE: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: nowhere, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: nobody, user: {}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
";

#[test]
fn a_cluster_that_does_not_answer_and_a_context_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("config");
    std::fs::write(&kubeconfig, UNREACHABLE).unwrap();
    let on = |context: &str| {
        let mut command = check(&["--only", "6", "--context", context]);
        finish(command.env("KUBECONFIG", &kubeconfig))
    };
    let unreachable = on("nowhere");
    assert_eq!(unreachable.status.code(), Some(3), "{}", unreachable.err);
    assert!(
        unreachable.err.contains("cannot reach the cluster"),
        "{}",
        unreachable.err
    );
    assert_eq!(unreachable.out, "", "standard output is for results");
    let unknown = on("elsewhere");
    assert_eq!(unknown.status.code(), Some(2), "{}", unknown.err);
    assert!(unknown.err.contains("it has nowhere"), "{}", unknown.err);
}

#[test]
fn a_few_checks_pass_on_the_local_cluster() {
    let _machine = the_machine();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results");
    let mut command = check(&["--only", "6,9,46", "--json", "--out"]);
    let ended = finish(command.arg(&out));
    assert_eq!(ended.status.code(), Some(0), "{}{}", ended.err, ended.out);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let numbers: Vec<_> = rows.iter().map(|row| row["check"].as_u64()).collect();
    assert_eq!(numbers, [Some(6), Some(9), Some(46)]);
    assert!(rows.iter().all(|row| row["verdict"] == "passed"));
    assert_eq!(report["leftBehind"], serde_json::json!([]));
    assert!(!report["emulations"].as_array().unwrap().is_empty());
    let table = std::fs::read_to_string(out.join("check.txt")).unwrap();
    assert!(table.contains("3 passed, 0 failed, 0 skipped"), "{table}");
    let written = std::fs::read_to_string(out.join("check.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), report);
}

#[test]
fn an_interruption_ends_it_and_leaves_nothing() {
    let _machine = the_machine();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = check(&["--only", "42"]);
    let mut child = command.env("TMPDIR", temporary.path()).spawn().unwrap();
    let is_up = || {
        std::fs::read_dir(temporary.path())
            .unwrap()
            .next()
            .is_some()
    };
    eventually("the check has begun", is_up);
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert!(child.stdin.take().is_none());
    let ended = wait(child);
    assert_eq!(ended.status.code(), Some(130), "{}{}", ended.err, ended.out);
    assert!(!is_up(), "the temporary folder is empty");
}

#[test]
fn the_fallback_without_namespaces_can_be_chosen() {
    let _machine = the_machine();
    let endings = ["--only", "26,27,33", "--isolation", "process-group"];
    let ended = finish(&mut check(&endings));
    assert_eq!(ended.status.code(), Some(0), "{}{}", ended.err, ended.out);
    assert!(ended.out.contains("3 passed"), "{}", ended.out);
    assert!(
        ended.out.contains("emulated: pods are process groups"),
        "{}",
        ended.out
    );
    let unknown = finish(&mut check(&["--isolation", "jail"]));
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        unknown.err.contains("pid-namespace, process-group"),
        "{}",
        unknown.err
    );
}

/// It waits for five minutes, and two more.
const TOO_LONG: u64 = 42;
/// What these need of the machine they may not get, and then say so: an answer within two seconds,
/// and a share of a processor.
const MAY_BE_SKIPPED: [u64; 3] = [38, 39, 41];

/// CI's own part: it takes minutes.
#[test]
fn the_checks_pass_on_the_local_cluster() {
    if std::env::var_os("HOLDFAST_REQUIRE_TOOLS").is_none_or(|value| value != "1") {
        eprintln!(
            "SKIPPED: these checks take minutes; HOLDFAST_REQUIRE_TOOLS=1 or `holdfast cluster check` runs them"
        );
        return;
    }
    let listed = finish(&mut check(&["--list"]));
    let numbers = listed.out.lines().map(|line| -> u64 {
        let number = line.split_whitespace().next().unwrap();
        number.parse().unwrap()
    });
    let chosen: Vec<String> = numbers
        .filter(|number| *number != TOO_LONG)
        .map(|number| number.to_string())
        .collect();
    let _machine = the_machine();
    let rows = rows_of(&chosen);
    assert_eq!(rows.len(), chosen.len());
    let mut failed = Vec::new();
    for row in rows.iter().filter(|row| row["verdict"] != "passed") {
        let number = row["check"].as_u64().unwrap();
        if row["verdict"] == "failed" {
            eprintln!("check {number} failed, and is carried out once more: {row}");
            failed.push(number.to_string());
        } else {
            assert!(MAY_BE_SKIPPED.contains(&number), "{row}");
            eprintln!("SKIPPED: check {number}: {}", row["observed"]);
        }
    }
    // Bounds are in seconds. A machine that stalled says so once, a cluster that is wrong each time.
    if !failed.is_empty() {
        let again = rows_of(&failed);
        let passed = again.iter().all(|row| row["verdict"] == "passed");
        assert!(passed, "{again:?}");
    }
}

/// The results of these checks.
fn rows_of(numbers: &[String]) -> Vec<Value> {
    let output = check(&["--json", "--only", &numbers.join(",")])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let failed = rows.iter().any(|row| row["verdict"] == "failed");
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{report}");
    rows.clone()
}

const IMAGES: &str = "\
images:
  \"example/greeter:1\": {command: [/bin/sh, -c, \"echo hello; exec sleep 1000\"]}
";

#[test]
fn kubectl_runs_any_image_of_the_map_in_an_empty_cluster() {
    if tool("kubectl").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("map.yaml");
    std::fs::write(&images, IMAGES).unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let mut command = holdfast("cluster-up");
    command
        .args(["cluster", "up", "--images"])
        .arg(&images)
        .arg("--kubeconfig-out")
        .arg(&kubeconfig);
    let mut child = command.spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = said.map_while(Result::ok);
    assert_eq!(said.next().unwrap(), "preparing an empty cluster");
    assert!(said.any(|line| line.starts_with("Ctrl-C")));

    let run = |name: &str, image: &str| {
        kubectl(&kubeconfig, &["run", name, &format!("--image={image}")]);
    };
    run("greeter", "example/greeter:1");
    run("victim", "holdfast/victim:dev");
    run("unknown", "example/unknown:1");
    for name in ["greeter", "victim"] {
        let condition = [
            "wait",
            "--for=condition=Ready",
            "pod",
            name,
            "--timeout=60s",
        ];
        kubectl(&kubeconfig, &condition);
    }
    assert_eq!(kubectl(&kubeconfig, &["logs", "greeter"]), "hello\n");
    eventually("the unknown image is told", || {
        let pods = kubectl(&kubeconfig, &["get", "pod", "unknown"]);
        pods.contains("ImagePullBackOff")
    });

    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!kubeconfig.exists());
}

fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> String {
    let output = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
