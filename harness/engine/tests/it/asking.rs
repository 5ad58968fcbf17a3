//! Invariants are asked about after the run, and stop conditions over HTTP and in the cluster during
//! it.

use std::time::Duration;

use holdfast_core::condition::{ObjectKind, RequiredCondition, Status};
use holdfast_core::event::{Event, StopCause};
use holdfast_core::experiment::{Address, Invariant, StopCondition};
use holdfast_core::plan::Plan;

use crate::script::{Answers, Finished, LoadScript, Script, Shown, fault, plan, start};

const SETTLED: Answers = Answers::With(200, r#"{"holds": true, "settled": true}"#);
const UNDER_WAY: Answers = Answers::With(
    200,
    r#"{"holds": true, "settled": false, "due": [{"invariant": "paid", "ids": ["7"]}]}"#,
);
const VIOLATED: Answers = Answers::With(
    200,
    r#"{"holds": false, "settled": false, "violations": [{"invariant": "paid", "ids": ["7"]}]}"#,
);

fn address() -> Address {
    Address::Service {
        name: "auditor".to_owned(),
        path: "/invariants".to_owned(),
    }
}

/// A plan of 5 s with one fault and one invariant.
fn asking() -> Plan {
    let mut plan = plan(5, vec![fault("a", 1, 3)]);
    plan.invariants = vec![Invariant {
        name: "orders".to_owned(),
        get: address(),
        within: Duration::from_secs(10),
    }];
    plan
}

async fn with_answers(answers: Vec<Answers>) -> Finished {
    let script = Script {
        answers,
        ..Script::default()
    };
    start(asking(), script).finish().await
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_after_the_load_until_the_system_has_settled() {
    let finished = with_answers(vec![UNDER_WAY, Answers::Refused, UNDER_WAY, SETTLED]).await;
    let [checked] = finished.record.invariants.as_slice() else {
        panic!("{:?}", finished.record.invariants);
    };
    assert!(checked.settled);
    assert_eq!(checked.after, Duration::from_millis(1500));
    assert_eq!(checked.error, None);
    let told = finished.events.iter().map(|stamped| &stamped.event);
    let kinds: Vec<bool> = told
        .filter_map(|event| match event {
            Event::LoadFinished(_) | Event::FaultRecovered { .. } => Some(false),
            Event::InvariantsChecked(_) => Some(true),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [false, false, true], "asked when all else is over");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_for_good_ends_the_asking() {
    let finished = with_answers(vec![UNDER_WAY, VIOLATED, SETTLED]).await;
    let checked = &finished.record.invariants[0];
    assert_eq!(checked.violations.len(), 1);
    assert!(!checked.settled);
    assert_eq!(checked.after, Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_system_that_never_settles_is_asked_no_longer_than_it_may_take() {
    let finished = with_answers(vec![UNDER_WAY]).await;
    let checked = &finished.record.invariants[0];
    assert!(!checked.settled && checked.error.is_none());
    assert_eq!(checked.due[0].about, ["7"]);
    assert_eq!(checked.after, Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_system_that_settles_too_late_has_not_settled() {
    const LATE: Answers = Answers::After(2, r#"{"holds": true, "settled": true}"#);
    // Asked every half second: the last time at 10 s, when there is just no time left.
    let mut answers = vec![UNDER_WAY; 20];
    let in_time = with_answers([&answers[..], &[SETTLED]].concat()).await;
    assert!(in_time.record.invariants[0].settled);
    answers.push(LATE);
    let late = with_answers(answers).await;
    let checked = &late.record.invariants[0];
    assert_eq!(checked.after, Duration::from_secs(12));
    assert!(!checked.settled && checked.error.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_at_the_end_is_an_error_with_its_words() {
    for (answer, words) in [
        (Answers::Refused, "connection refused"),
        (Answers::Hang, "no answer within 5 s"),
        (Answers::Panic, "the HTTP client panicked"),
        (Answers::With(502, "{}"), "status 502"),
        (Answers::With(200, "<html>"), "experiment.md"),
    ] {
        let finished = with_answers(vec![UNDER_WAY, answer]).await;
        let error = finished.record.invariants[0].error.as_ref().unwrap();
        assert!(error.contains(words), "{answer:?}: {error}");
        assert!(finished.record.finished);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_about_a_run_that_did_not_take_place() {
    let script = Script {
        load: LoadScript::FailAtOnce,
        answers: vec![SETTLED],
        ..Script::default()
    };
    let finished = start(asking(), script).finish().await;
    assert!(finished.record.invariants.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_interruption_ends_the_asking() {
    let script = Script {
        answers: vec![UNDER_WAY],
        ..Script::default()
    };
    let running = start(asking(), script);
    tokio::time::sleep(Duration::from_secs(8)).await;
    running.stop.send(StopCause::Interrupted).unwrap();
    let finished = running.finish().await;
    assert!(finished.record.invariants.is_empty());
    assert_eq!(finished.record.stopped, Some(StopCause::Interrupted));
    assert!(finished.record.finished);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_fails_or_is_silent_trips_its_stop_condition() {
    const WELL: Answers = Answers::With(204, "");
    for (answer, words, second) in [
        (Answers::With(500, ""), "answered 500", 6),
        (Answers::Refused, "connection refused", 6),
        (Answers::Hang, "no answer within 5 s", 11),
    ] {
        let mut plan = plan(60, vec![fault("a", 1, 50)]);
        plan.stop_conditions = vec![StopCondition::Http {
            get: address(),
            every: Duration::from_secs(2),
        }];
        let script = Script {
            answers: vec![WELL, WELL, answer],
            ..Script::default()
        };
        let finished = start(plan, script).finish().await;
        let Some(StopCause::StopCondition(told)) = &finished.record.stopped else {
            panic!("{:?}", finished.record.stopped);
        };
        assert!(told.contains(words), "{told}");
        let recovered = format!("recover a@{second}");
        assert_eq!(finished.calls(), ["prepare a@1", "inject a@1", &recovered]);
        assert!(finished.record.residue.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_about_stop_conditions_once_the_load_has_ended() {
    let mut plan = plan(5, vec![fault("a", 1, 3)]);
    plan.stop_conditions = vec![StopCondition::Http {
        get: address(),
        every: Duration::from_secs(2),
    }];
    let script = Script {
        answers: vec![Answers::With(204, "")],
        recover_takes: [("a", Duration::from_secs(30))].into(),
        ..Script::default()
    };
    let finished = start(plan, script).finish().await;
    assert_eq!(finished.record.stopped, None);
    assert_eq!(finished.asked, 2, "at 2 s and at 4 s of 5 s");
}

#[tokio::test(start_paused = true)]
async fn what_prometheus_computes_trips_its_stop_condition() {
    const WELL: Answers = Answers::With(
        200,
        r#"{"status": "success", "data": {"resultType": "scalar", "result": [0, "4"]}}"#,
    );
    const MANY: Answers = Answers::With(
        200,
        r#"{"status": "success", "data": {"resultType": "scalar", "result": [0, "7.5"]}}"#,
    );
    const REFUSED: Answers = Answers::With(
        400,
        r#"{"status": "error", "errorType": "bad_data", "error": "parse error"}"#,
    );
    for (answer, words) in [
        (MANY, "`errors` is 7.5, above 5"),
        (
            REFUSED,
            "`errors` has no answer (status 400): bad_data: parse error",
        ),
        (
            Answers::Refused,
            "`errors` does not answer: connection refused",
        ),
    ] {
        let mut plan = plan(60, vec![fault("a", 1, 50)]);
        plan.stop_conditions = vec![StopCondition::Promql {
            query: "errors".to_owned(),
            get: address(),
            min: None,
            max: Some(5.0),
            every: Duration::from_secs(2),
        }];
        let script = Script {
            answers: vec![WELL, WELL, answer],
            ..Script::default()
        };
        let finished = start(plan, script).finish().await;
        let told = StopCause::StopCondition(words.to_owned());
        assert_eq!(finished.record.stopped, Some(told));
        assert_eq!(
            finished.calls(),
            ["prepare a@1", "inject a@1", "recover a@6"]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_object_shows_trips_its_stop_condition() {
    const WELL: Shown = Shown::Available("True");
    for (shown, words, second) in [
        (
            Shown::Available("False"),
            "deployment pay is not Available: Scripted",
            6,
        ),
        (Shown::NoObject, "deployment pay does not exist", 6),
        (
            Shown::Refused,
            "deployment pay cannot be read: connection refused",
            6,
        ),
        (
            Shown::Hang,
            "deployment pay cannot be read: no answer within 5 s",
            11,
        ),
        (
            Shown::Panic,
            "deployment pay cannot be read: the condition reader panicked",
            6,
        ),
    ] {
        let mut plan = plan(60, vec![fault("a", 1, 50)]);
        plan.stop_conditions = vec![StopCondition::K8sCondition {
            required: RequiredCondition {
                kind: ObjectKind::Deployment,
                name: "pay".to_owned(),
                type_: "Available".to_owned(),
                status: Status::True,
            },
            every: Duration::from_secs(2),
        }];
        let script = Script {
            shown: vec![WELL, WELL, shown],
            ..Script::default()
        };
        let finished = start(plan, script).finish().await;
        let told = StopCause::StopCondition(words.to_owned());
        assert_eq!(finished.record.stopped, Some(told));
        let recovered = format!("recover a@{second}");
        assert_eq!(finished.calls(), ["prepare a@1", "inject a@1", &recovered]);
        assert!(finished.record.residue.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_healthy_trips_its_stop_condition() {
    const WELL: Shown = Shown::Available("True");
    for (shown, words, second) in [
        (
            Shown::Available("False"),
            "node a is not Ready: Scripted",
            6,
        ),
        (Shown::NoObject, "the cluster has no nodes", 6),
        (
            Shown::Refused,
            "the health of the cluster cannot be read: connection refused",
            6,
        ),
        (
            Shown::Hang,
            "the health of the cluster cannot be read: no answer within 5 s",
            11,
        ),
    ] {
        let mut plan = plan(60, vec![fault("a", 1, 50)]);
        plan.stop_conditions = vec![StopCondition::ClusterHealth {
            every: Duration::from_secs(2),
        }];
        let script = Script {
            shown: vec![WELL, WELL, shown],
            ..Script::default()
        };
        let finished = start(plan, script).finish().await;
        let told = StopCause::StopCondition(words.to_owned());
        assert_eq!(finished.record.stopped, Some(told));
        let recovered = format!("recover a@{second}");
        assert_eq!(finished.calls(), ["prepare a@1", "inject a@1", &recovered]);
    }
}
