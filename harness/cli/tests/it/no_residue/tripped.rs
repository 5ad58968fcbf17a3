//! Stop conditions end a fault long before its time.

use std::process::Child;

use serde_json::Value;

use super::picture::Picture;
use super::{begin, not_after};
use crate::holdfast::wait;
use crate::standing::{LONG, Standing};

/// A fault of a minute that its stop condition ends is undone within so many seconds, also on a busy
/// machine.
const AT_ONCE: f64 = 20.0;

/// The journal of a run, in order.
struct Journal(Vec<Value>);

impl Journal {
    /// When this first happened, in seconds of the run.
    fn time(&self, event: &str) -> f64 {
        let mut told = self.0.iter();
        let found = told.find(|told| told["event"] == event || told["event"][event].is_object());
        let at = found.and_then(|found| found["at"].as_f64());
        at.unwrap_or_else(|| panic!("no {event} in the journal"))
    }

    /// How many requests of the users were answered as expected in whole seconds after this one.
    fn served_after(&self, at: f64) -> u64 {
        let began = self.time("loadStarted");
        let ticks = self.0.iter().map(|told| &told["event"]["tick"]);
        let after = ticks.filter(|tick| {
            let second = tick["second"].as_f64();
            tick["source"] == "users" && second.is_some_and(|second| began + second >= at)
        });
        after.filter_map(|tick| tick["expected"].as_u64()).sum()
    }
}

/// The experiment with this fault, this stop condition, and time to be served again.
fn write(standing: &Standing, fault: &str, stop_condition: &str) {
    standing.write_running("stopped.yaml", fault);
    let file = standing.file("stopped.yaml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    let stops = format!("{{stopConditions: [{stop_condition}], allow:");
    for (from, to) in [
        ("{allow:", stops.as_str()),
        ("recovery: 1s", "recovery: 4s"),
    ] {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    }
    std::fs::write(file, text).unwrap();
}

fn run(standing: &Standing) -> Child {
    let run = &mut standing.run("stopped.yaml", &LONG);
    begin(standing, run.arg("--json"), 1)
}

/// Waits for the run, which is to be aborted and to have undone its fault at once under a load that
/// went on; returns why.
fn aborted(standing: &Standing, before: &Picture, run: Child) -> String {
    let not_after = not_after(standing);
    let ended = wait(run);
    assert_eq!(ended.status.code(), Some(4), "{}", ended.err);
    before.is_there_again(standing, not_after, &ended.err);

    let result: Value = serde_json::from_str(&ended.out).unwrap();
    let verdict = &result["verdict"];
    assert_eq!(verdict["outcome"], "aborted", "{verdict}");
    let reason = verdict["reasons"][0].as_str().unwrap();
    let why = reason.strip_prefix("stop condition: ").expect(reason);

    let folder = standing.file("reports/tiny/latest");
    let record = std::fs::read(folder.join("record.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["stopped"]["stopCondition"], why);
    assert_eq!(record["residue"], serde_json::json!([]));
    assert_eq!(record["finished"], true);

    let journal = std::fs::read_to_string(folder.join("events.jsonl")).unwrap();
    let told = journal.lines().map(serde_json::from_str);
    let journal = Journal(told.collect::<Result<_, _>>().unwrap());
    let stopped = journal.time("stopped");
    let undone = record["faults"][0]["recovered"].as_f64().unwrap();
    assert!(undone < stopped + AT_ONCE, "{stopped} s and {undone} s");
    let served = journal.served_after(undone);
    assert!(served > 0, "nobody was served after {undone} s");
    why.to_owned()
}

#[test]
fn users_whom_nobody_serves_end_the_fault() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let before = Picture::of(&standing);
    let condition = "{metric: availability, over: 2s, min: 50}";
    write(&standing, "serviceDown: {service: web}", condition);
    let run = run(&standing);
    let why = aborted(&standing, &before, run);
    let is_told = why.starts_with("availability ") && why.ends_with(" is below 50 %");
    assert!(is_told, "{why}");
}

#[test]
fn a_node_that_is_lost_ends_the_fault() {
    let Some(standing) = Standing::start() else {
        return;
    };
    standing.bring_up();
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: other}\n";
    std::fs::write(standing.file("node.yaml"), node).unwrap();
    standing.kubectl(&["create", "-f", "node.yaml"]);
    tell(&standing, "True");
    let before = Picture::of(&standing);
    let fault = "scale: {deployment: web, replicas: 1}";
    write(&standing, fault, "{clusterHealth: {every: 1s}}");
    let run = run(&standing);
    tell(&standing, "Unknown");
    let why = aborted(&standing, &before, run);
    assert_eq!(why, "Ready of node other is Unknown, not True");
}

/// Has the other node show whether it is ready.
fn tell(standing: &Standing, ready: &str) {
    let conditions = serde_json::json!([{"type": "Ready", "status": ready}]);
    let told = serde_json::json!({"status": {"conditions": conditions}}).to_string();
    let patch = [
        "patch",
        "node",
        "other",
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    standing.kubectl(&[patch.as_slice(), &[&told]].concat());
}
