//! Whole runs on the local cluster.

use std::fs;

use serde_json::Value;

use crate::holdfast::{Finished, ended_with, eventually, finish, processes_of};
use crate::scenario::{Parts, Scenario};

/// The machine-readable result of a run that met its objectives; on a machine so busy that the
/// run voids itself, it must say so and not pass.
fn passed(finished: &Finished) -> Value {
    let result: Value = serde_json::from_str(&finished.out).unwrap();
    let valid = result["summary"]["selfCheck"]["valid"] == true;
    let expected = if valid {
        (0, "passed")
    } else {
        (3, "inconclusive")
    };
    assert_eq!(
        finished.status.code(),
        Some(expected.0),
        "{}\n{result}",
        finished.err
    );
    assert_eq!(result["verdict"]["outcome"], expected.1, "{result}");
    result
}

#[test]
fn a_healthy_system_passes_and_leaves_a_whole_report() {
    let scenario = Scenario::new(&Parts::default());
    // A proxy for the outside world has no business between the tool and its own cluster.
    let mut command = scenario.run();
    for variable in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
        command.env(variable, "http://127.0.0.1:9");
    }
    let finished = finish(command.args(["--json", "--set", "users=3"]));
    let result = passed(&finished);
    let accounting = &result["summary"]["accounting"];
    assert_eq!(accounting["holds"], true, "{accounting}");
    assert!(accounting["sent"].as_u64().unwrap() > 50, "{accounting}");

    let latest = scenario.reports().join("scenario/latest");
    for file in [
        "record.json",
        "events.jsonl",
        "siege.txt",
        "siege.json",
        "latency.hdr",
        "summary.md",
        "report.html",
    ] {
        let length = fs::metadata(latest.join(file)).map(|data| data.len());
        assert!(length.is_ok_and(|length| length > 0), "{file}");
    }
    let record: Value =
        serde_json::from_slice(&fs::read(latest.join("record.json")).unwrap()).unwrap();
    assert_eq!(record["run"]["params"]["users"], "3");
    assert_eq!(processes_of(&scenario.marker), [""; 0]);
}

#[test]
fn a_missed_objective_is_exit_code_one() {
    let rest = "  steadyState: [{metric: p50, max: 10ms}]\n";
    let scenario = Scenario::new(&Parts {
        rest,
        ..Parts::default()
    });
    let finished = finish(&mut scenario.run());
    ended_with(&finished, 1);
}

#[test]
fn pay_gone_refuses_every_order_and_is_put_back() {
    let rest = "  windows: {baseline: 4s, recovery: 10s}
  method:
    - {name: pay-gone, at: 0s, duration: 5s, fault: {scale: {deployment: pay, replicas: 0}}}
  safety: {allow: [blastRadius]}
  steadyState:
    - {metric: availability, during: [baseline], min: 100}
    - {metric: availability, during: [after], min: 100}
    - {metric: availability, during: [fault], max: 50}
    - {metric: recoveryTime, max: 9s}
";
    let scenario = Scenario::new(&Parts {
        duration: "20s",
        rest,
        ..Parts::default()
    });
    let finished = finish(scenario.run().arg("--json"));
    passed(&finished);

    let latest = scenario.reports().join("scenario/latest");
    let record: Value =
        serde_json::from_slice(&fs::read(latest.join("record.json")).unwrap()).unwrap();
    let fault = &record["faults"][0];
    assert!(
        fault["undo"]
            .as_str()
            .unwrap()
            .contains("deployment pay: spec.replicas to 1"),
        "{fault}"
    );
    assert!(
        fault["injected"].as_f64() < fault["recovered"].as_f64(),
        "{fault}"
    );
    assert_eq!(record["residue"], serde_json::json!([]));
    let journal = fs::read_to_string(latest.join("events.jsonl")).unwrap();
    let position = |word: &str| journal.find(word).unwrap_or_else(|| panic!("no {word}"));
    assert!(position("undoRecorded") < position("faultInjected"));
}

#[test]
fn the_last_pod_is_not_taken_without_permission() {
    let rest = "  method:
    - {name: pay-gone, at: 0s, duration: 1s, fault: {scale: {deployment: pay, replicas: 0}}}
  steadyState: [{metric: availability, min: 1}]
";
    let scenario = Scenario::new(&Parts {
        rest,
        ..Parts::default()
    });
    let finished = finish(&mut scenario.run());
    assert_eq!(finished.status.code(), Some(2), "{}", finished.err);
    assert!(
        finished.err.contains("allow: [blastRadius]"),
        "{}",
        finished.err
    );
    assert!(
        !scenario.reports().join("scenario").exists(),
        "nothing was run"
    );
    eventually("no process is left", || {
        processes_of(&scenario.marker).is_empty()
    });
}
