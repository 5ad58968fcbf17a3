//! Every experiment of the repository in its quick profile, and the direction of every effect: with a
//! margin that a busy machine cannot make. Only a load generator that could not keep up excuses a run.

use serde_json::Value;

use crate::holdfast::{finish, holdfast, workspace};
use crate::system::System;

mod alone;
mod side_by_side;

/// How often a run may say nothing.
const ATTEMPTS: usize = 3;

/// What one quick run says of itself.
struct Run {
    result: Value,
    record: Value,
}

impl Run {
    /// Whether its figures are the system's. On a machine so busy that the load was not what it was
    /// to be, the generator says so, and they are nobody's. Nothing else may keep a run from saying
    /// something.
    fn is_conclusive(&self) -> bool {
        let verdict = &self.result["verdict"];
        if verdict["outcome"] == "passed" || verdict["outcome"] == "failed" {
            return true;
        }
        let problems = list(&self.result["summary"]["selfCheck"]["problems"]);
        let of_the_generator = list(&verdict["reasons"]).iter().all(|reason| {
            let mut problems = problems.iter().filter_map(Value::as_str);
            problems.any(|problem| *reason == format!("invalid: {problem}"))
        });
        let says_nothing = verdict["outcome"] == "inconclusive" && !problems.is_empty();
        assert!(says_nothing && of_the_generator, "{verdict}");
        false
    }

    /// Whether nothing was broken, because the system did not serve before as it should: a test beside
    /// it, or a disk, kept it from that for a moment.
    fn has_no_baseline(&self) -> bool {
        self.record["stopped"]["baselineUnmet"].is_string()
    }

    /// Whatever its load was: it came to its end, every fault was in effect and is undone, and every
    /// invariant was answered and holds.
    fn was_carried_out(&self) {
        let Self { result, record } = self;
        assert_eq!(record["finished"], true);
        assert_eq!(record["stopped"], Value::Null);
        assert_eq!(result["residue"], serde_json::json!([]));
        let plan = &record["run"]["plan"];
        let faults = list(&record["faults"]);
        assert_eq!(faults.len(), list(&plan["faults"]).len(), "{faults:?}");
        for fault in faults {
            let held = fault["injected"].is_number() && fault["recovered"].is_number();
            assert!(held, "{fault}");
        }
        let invariants = list(&record["invariants"]);
        assert_eq!(invariants.len(), list(&plan["invariants"]).len());
        for invariant in invariants {
            assert_eq!(invariant["error"], Value::Null, "{invariant}");
            assert_eq!(
                invariant["violations"],
                serde_json::json!([]),
                "{invariant}"
            );
            assert_eq!(invariant["settled"], true, "{invariant}");
        }
    }

    /// Of a hundred requests of load and prober that ended, how many did as expected.
    fn availability(&self) -> f64 {
        let accounting = &self.result["summary"]["accounting"];
        let count = |field: &str| {
            let count = accounting[field].as_f64();
            count.unwrap_or_else(|| panic!("no {field} in {accounting}"))
        };
        100.0 * count("expected") / (count("expected") + count("unexpected"))
    }

    /// The states of app's circuit to pay, in turn.
    fn circuit(&self) -> Vec<&str> {
        let observed = list(&self.record["observations"]).iter();
        let states = observed.map(|one| &one["observation"]["breaker"]["state"]);
        states.filter_map(Value::as_str).collect()
    }

    /// How many requests of load and prober failed for this reason.
    fn failed(&self, reason: &str) -> usize {
        let failures = list(&self.record["failures"]).iter();
        failures
            .filter(|failure| failure["reason"] == reason)
            .count()
    }

    /// How many of them found nobody at their endpoint: refused by the machine, or lost on the way to
    /// an address that is gone.
    fn found_nobody(&self) -> usize {
        self.failed("connectRefused") + self.failed("connectTimeout")
    }

    /// The numbers of ready endpoints of a Service, as they changed from the beginning of the load
    /// to that of the undoing of the first fault.
    fn ready_until_undone(&self, service: &str) -> Vec<u64> {
        let from = self.record["loadStarted"].as_f64();
        let end = self.record["run"]["plan"]["faults"][0]["end"].as_f64();
        let to = from.zip(end).map(|(load, end)| load + end);
        let observed = self.record["observations"].as_array().unwrap();
        let told = observed.iter().filter(|one| {
            let at = one["at"].as_f64();
            at >= from && at <= to
        });
        let endpoints = told.map(|one| &one["observation"]["endpoints"]);
        endpoints
            .filter(|one| one["service"] == service)
            .map(|one| one["ready"].as_u64().unwrap())
            .collect()
    }
}

/// The elements of a list; of one that is left out because it is empty, none.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A quick run of an experiment with these settings.
fn quick(name: &str, settings: &[&str]) -> Run {
    quick_of(&System::new(), name, settings)
}

/// The same of an experiment in this copy of the system. A run that says nothing, because the machine
/// had other things to do, is made again.
fn quick_of(system: &System, name: &str, settings: &[&str]) -> Run {
    let mut reasons = Vec::new();
    for _ in 0..ATTEMPTS {
        let run = carry_out(system, name, settings);
        if !run.has_no_baseline() {
            run.was_carried_out();
            if run.is_conclusive() {
                return run;
            }
        }
        reasons.push(run.result["verdict"]["reasons"].clone());
    }
    panic!("{name} {settings:?} says nothing here: {reasons:?}");
}

fn carry_out(system: &System, name: &str, settings: &[&str]) -> Run {
    let reports = tempfile::tempdir().unwrap();
    let key = format!("{name} {}", settings.join(" "));
    let mut command = holdfast(&key);
    command
        .current_dir(system.path())
        .args(["run", "--quick", "--json"])
        .arg(format!("experiments/{name}.yaml"))
        .arg("--out")
        .arg(reports.path());
    for setting in settings {
        command.args(["--set", setting]);
    }
    let finished = finish(&mut command);
    let result: Value = serde_json::from_str(&finished.out)
        .unwrap_or_else(|_| panic!("{key} said nothing: {}", finished.err));
    let record = reports.path().join(name).join("latest/record.json");
    let record = std::fs::read(record).unwrap();
    Run {
        result,
        record: serde_json::from_slice(&record).unwrap(),
    }
}

/// Runs an experiment in which at least so many of a hundred requests must be served. Its objectives are
/// its own business: they are for machines that do nothing else.
fn serves(name: &str, percent: f64) -> Run {
    let run = quick(name, &[]);
    let served = run.availability();
    assert!(
        served >= percent,
        "{name}: {served} %: {}",
        run.result["verdict"]
    );
    run
}

/// That one run was better than another by at least so many points.
fn better(one: &Run, other: &Run, points: f64) {
    let (one, other) = (one.availability(), other.availability());
    assert!(one >= other + points, "{one} % against {other} %");
}

#[test]
fn every_experiment_has_a_quick_profile_and_a_stop_condition_and_asks_for_the_books() {
    let stops = ["\n    stopConditions: [{", "\n  # No stop condition: "];
    for file in std::fs::read_dir(workspace().join("experiments")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|end| end == "yaml") {
            let text = std::fs::read_to_string(&file).unwrap();
            for part in ["\n  quick: {", "\n  invariants:\n"] {
                assert!(text.contains(part), "{}: no {part}", file.display());
            }
            let may_stop = stops.iter().any(|stop| text.contains(stop));
            assert!(may_stop, "{}: none of {stops:?}", file.display());
        }
    }
}
