//! Input that cannot be used: what, where, what to do, and exit code 2.

use std::fs;
use std::path::Path;

use crate::holdfast::{Finished, finish, holdfast};
use crate::scenario::{Parts, Scenario};

fn refused(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.status.code(), Some(2), "{}", finished.err);
    for word in words {
        assert!(
            finished.err.contains(word),
            "no {word:?} in:\n{}",
            finished.err
        );
    }
    assert_eq!(finished.out, "", "standard output is for results");
}

/// The scenario with `from` replaced by `to`, run.
fn run_changed(from: &str, to: &str) -> (Scenario, Finished) {
    let scenario = Scenario::new(&Parts::default());
    let file = scenario.folder.path().join("scenario.yaml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).unwrap();
    let finished = finish(&mut scenario.run());
    assert!(
        !scenario.reports().join("scenario").exists(),
        "nothing was run"
    );
    (scenario, finished)
}

#[test]
fn a_missing_experiment() {
    refused(
        &finish(holdfast("none").args(["run", "no/such.yaml"])),
        &["no/such.yaml"],
    );
}

/// Runs a load against a URL, without a system.
fn run_load(url: &str, stage: &str, requests: &str) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let fields = format!("stages: [{stage}]\n    requests: [{requests}]");
    run_load_in(folder.path(), url, &fields)
}

/// The same, from an experiment in `folder`, with these fields beside the target.
fn run_load_in(folder: &Path, url: &str, fields: &str) -> Finished {
    run_load_with(folder, url, fields, &[])
}

/// The same with options.
fn run_load_with(folder: &Path, url: &str, fields: &str, options: &[&str]) -> Finished {
    let file = folder.join("load.yaml");
    let text = format!(
        "apiVersion: holdfast.dev/v1alpha1
kind: Experiment
metadata: {{name: load}}
spec:
  load:
    target: {{url: '{url}'}}
    {fields}
"
    );
    fs::write(&file, text).unwrap();
    let reports = folder.join("reports");
    let mut command = holdfast("load");
    let command = command.arg("run").arg(&file).arg("--out").arg(&reports);
    let finished = finish(command.args(options));
    assert!(!reports.join("load").exists(), "nothing was run");
    finished
}

#[test]
fn a_target_that_does_not_resolve() {
    let stage = "{users: 1, duration: 1s}";
    let finished = run_load("http://nobody.invalid:8080", stage, "{get: /}");
    refused(&finished, &["nobody.invalid:8080", "does not resolve"]);
}

#[test]
fn a_rate_that_no_generator_keeps() {
    let requests = vec!["{get: /}"; 20].join(", ");
    let stage = "{rate: 100000/s, duration: 1s}";
    let finished = run_load("http://127.0.0.1:9", stage, &requests);
    let words = [
        "2000000 requests per second are asked for",
        "lower the rate",
    ];
    refused(&finished, &words);
}

#[test]
fn a_data_file_without_a_field_that_a_request_uses() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("items.csv"), "id,item\n1,chicken\n").unwrap();
    let fields = "stages: [{users: 1, duration: 1s}]
    data: {file: items.csv}
    requests: [{get: '/{{data.itme}}'}]";
    let finished = run_load_in(folder.path(), "http://127.0.0.1:9", fields);
    let words = ["items.csv", "no field `itme` on line 1", "it has: id, item"];
    refused(&finished, &words);
}

#[test]
fn a_quick_run_of_an_experiment_without_a_quick_profile() {
    let folder = tempfile::tempdir().unwrap();
    let fields = "stages: [{users: 1, duration: 1s}]\n    requests: [{get: /}]";
    let finished = run_load_with(folder.path(), "http://127.0.0.1:9", fields, &["--quick"]);
    refused(&finished, &["no quick profile", "spec.quick"]);
}

#[test]
fn an_experiment_for_one_cluster_in_a_run_without_any() {
    let folder = tempfile::tempdir().unwrap();
    let fields = "stages: [{users: 1, duration: 1s}]
    requests: [{get: /}]
  safety: {cluster: {context: staging}}";
    let finished = run_load_in(folder.path(), "http://127.0.0.1:9", fields);
    refused(&finished, &["safety.cluster", "this run has none"]);
}

#[test]
fn an_unknown_field_with_a_hint_and_its_place() {
    let (_scenario, finished) = run_changed("thinkTime", "thinkTimes");
    refused(
        &finished,
        &["scenario.yaml:28:5", "thinkTimes", "thinkTime"],
    );
}

#[test]
fn a_missing_manifest() {
    let (_scenario, finished) = run_changed("k8s/services]", "k8s/servicez]");
    refused(&finished, &["k8s/servicez", "scenario.yaml:9:"]);
}

#[test]
fn an_unknown_parameter() {
    let scenario = Scenario::new(&Parts::default());
    let finished = finish(scenario.run().args(["--set", "user=3"]));
    refused(&finished, &["user", "users"]);
}

#[test]
fn an_image_that_cannot_be_built() {
    let scenario = Scenario::new(&Parts::default());
    let folder = scenario.folder.path();
    let manifests = folder.join("services");
    fs::create_dir(&manifests).unwrap();
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: NAME}\nspec:\n  \
        selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    \
        spec: {containers: [{name: NAME, image: broken}]}\n";
    for name in ["app", "pay"] {
        fs::write(
            manifests.join(format!("{name}.yaml")),
            deployment.replace("NAME", name),
        )
        .unwrap();
    }
    fs::write(
        folder.join("images.yaml"),
        "images:\n  broken: {cargo: no-such-package}\n",
    )
    .unwrap();
    let file = folder.join("scenario.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let original = scenario.system.services();
    let changed = text.replace(
        &original.display().to_string(),
        &manifests.display().to_string(),
    );
    fs::write(&file, changed).unwrap();
    let finished = finish(&mut scenario.run());
    refused(&finished, &["no-such-package", "images.yaml"]);
}

#[test]
fn an_image_that_nobody_knows() {
    let scenario = Scenario::new(&Parts::default());
    let file = scenario.folder.path().join("scenario.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace(
            "- name: pay\n",
            "- name: pay\n                    image: pay:other\n",
        ),
    )
    .unwrap();
    refused(
        &finish(&mut scenario.run()),
        &["pay:other", "images.yaml", "holdfast/pay:dev"],
    );
}

#[test]
fn a_report_folder_that_cannot_be_written() {
    let scenario = Scenario::new(&Parts::default());
    fs::write(scenario.reports(), "a file, not a folder").unwrap();
    let finished = finish(&mut scenario.run());
    refused(&finished, &["reports", "--out"]);
}

#[test]
fn a_full_disk() {
    // Every write to /dev/full fails as on a full disk, but it is no folder: a tiny file system is
    // what a report folder meets in earnest, where this process may make one.
    let scenario = Scenario::new(&Parts::default());
    let reports = scenario.reports();
    fs::create_dir(&reports).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&reports)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this process may not mount a file system");
        return;
    }
    let finished = finish(&mut scenario.run());
    let left = fs::read_dir(&reports).unwrap().count();
    let unmounted = std::process::Command::new("umount")
        .arg(&reports)
        .status()
        .unwrap();
    assert!(unmounted.success());
    refused(&finished, &["No space left", "--out"]);
    assert_eq!(left, 0, "nothing is left in the report folder");
}

#[test]
fn a_port_in_use_for_up() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\n\
         spec: {{selector: {{a: b}}, ports: [{{port: {port}}}]}}\n"
    );
    fs::write(folder.path().join("a.yaml"), service).unwrap();
    let finished = finish(holdfast("port").arg("up").arg(folder.path()));
    refused(&finished, &[&port.to_string(), "already in use"]);
}

#[test]
fn up_without_manifests() {
    let mut command = holdfast("nowhere");
    command.current_dir(Path::new("/")).arg("up");
    refused(&finish(&mut command), &["k8s/services"]);
}
