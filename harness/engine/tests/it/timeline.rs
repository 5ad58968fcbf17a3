//! When things happen, and in which order they are told.

use std::time::Duration;

use holdfast_core::event::{Event, StopCause};
use holdfast_core::experiment::{Phase, StopCondition};

use crate::script::{LoadScript, Script, fault, plan, start};

#[tokio::test(start_paused = true)]
async fn a_run_without_faults_is_all_baseline() {
    let finished = start(plan(3, Vec::new()), Script::default()).finish().await;
    assert_eq!(finished.record.ticks.len(), 3);
    assert!(finished.record.finished);
    assert!(finished.load_finished().is_some());
    assert_eq!(finished.record.stopped, None);
    let phases: Vec<_> = finished
        .events
        .iter()
        .filter_map(|stamped| match stamped.event {
            Event::PhaseStarted(phase) => Some(phase),
            _ => None,
        })
        .collect();
    assert_eq!(phases, [Phase::Baseline]);
    assert!(matches!(finished.events[0].event, Event::RunStarted(_)));
    assert!(matches!(
        finished.events.last().map(|stamped| &stamped.event),
        Some(Event::RunFinished { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn undo_is_recorded_before_the_deed_and_faults_follow_the_plan() {
    let faults = vec![fault("a", 5, 20), fault("b", 10, 15)];
    let finished = start(plan(30, faults), Script::default()).finish().await;
    assert_eq!(
        finished.calls(),
        [
            "prepare a@5",
            "inject a@5",
            "prepare b@10",
            "inject b@10",
            "recover b@15",
            "recover a@20"
        ]
    );
    let told: Vec<_> = finished
        .events
        .iter()
        .filter_map(|stamped| match &stamped.event {
            Event::UndoRecorded { fault, .. } => Some(format!("undo {fault}")),
            Event::FaultInjected { fault, .. } => Some(format!("injected {fault}")),
            Event::FaultRecovered { fault, .. } => Some(format!("recovered {fault}")),
            Event::PhaseStarted(phase) => Some(format!("{phase:?}")),
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        [
            "Baseline",
            "undo a",
            "injected a",
            "Fault",
            "undo b",
            "injected b",
            "recovered b",
            "recovered a",
            "Recovery"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn recorded_fault_times_are_the_observed_ones() {
    let script = Script {
        inject_takes: Duration::from_secs(3),
        ..Script::default()
    };
    let finished = start(plan(30, vec![fault("a", 5, 20)]), script)
        .finish()
        .await;
    let record = &finished.record.faults[0];
    assert_eq!(record.injected, Some(Duration::from_secs(8)));
    assert_eq!(record.recovered, Some(Duration::from_secs(20)));
    assert_eq!(record.injected_evidence, "inject done");
}

#[tokio::test(start_paused = true)]
async fn a_stop_condition_reverts_and_keeps_the_load_through_recovery() {
    let mut plan = plan(100, vec![fault("a", 5, 90)]);
    plan.stop_conditions = vec![StopCondition::Availability {
        over: Duration::from_secs(4),
        min: 50.0,
    }];
    let script = Script {
        load: LoadScript::BrokenFrom(6),
        ..Script::default()
    };
    let finished = start(plan, script).finish().await;
    assert!(matches!(
        finished.record.stopped,
        Some(StopCause::StopCondition(_))
    ));
    // Ten requests a second, so the window is 10 s long. Broken from 6 s: below half of it when the
    // tick of second 11 arrives at 12 s.
    assert_eq!(
        finished.calls(),
        ["prepare a@5", "inject a@5", "recover a@12"]
    );
    assert_eq!(finished.record.ticks.len(), 17, "12 s and 5 s of recovery");
    assert!(finished.record.residue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_load_that_never_ends_is_ended_by_the_deadline() {
    let script = Script {
        load: LoadScript::NeverEnd,
        ..Script::default()
    };
    let finished = start(plan(10, vec![fault("a", 1, 2)]), script)
        .finish()
        .await;
    assert!(matches!(
        finished.record.stopped,
        Some(StopCause::LoadFailed(_))
    ));
    assert!(finished.record.finished && finished.record.residue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_load_that_cannot_start_ends_the_run_without_a_fault() {
    let script = Script {
        load: LoadScript::FailAtOnce,
        ..Script::default()
    };
    let finished = start(plan(10, vec![fault("a", 1, 2)]), script)
        .finish()
        .await;
    assert_eq!(
        finished.record.stopped,
        Some(StopCause::LoadFailed("no such host".to_owned()))
    );
    assert!(finished.calls.is_empty());
}
