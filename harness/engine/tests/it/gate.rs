//! Nothing is broken unless the baseline is what it must be, and what halts a run.

use std::time::Duration;

use holdfast_core::event::StopCause;
use holdfast_core::experiment::{Metric, Objective, Phase};
use holdfast_core::plan::Plan;
use holdfast_core::summary::summarize;
use holdfast_core::verdict::{Outcome, judge};

use crate::script::{LoadScript, Script, fault, plan, start};

/// A plan whose baseline of 10 s must be without a failure, from so many requests.
fn gated(during: Vec<Phase>, min_requests: u64) -> Plan {
    let mut plan = plan(60, vec![fault("a", 10, 20), fault("b", 30, 40)]);
    plan.objectives = vec![Objective {
        metric: Metric::Availability,
        during,
        min: Some(100.0),
        max: None,
        min_requests,
    }];
    plan
}

fn broken() -> Script {
    Script {
        load: LoadScript::BrokenFrom(5),
        ..Script::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_baseline_ends_the_run_with_nothing_broken() {
    let finished = start(gated(vec![Phase::Baseline], 1), broken())
        .finish()
        .await;
    assert!(finished.calls.is_empty(), "{:?}", finished.calls());
    let Some(StopCause::BaselineUnmet(words)) = &finished.record.stopped else {
        panic!("{:?}", finished.record.stopped);
    };
    assert!(words.contains("availability in baseline"), "{words}");
    assert!(finished.record.ticks.len() <= 10, "the load ends at once");
    let verdict = judge(&finished.record, &summarize(&finished.record));
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(verdict.outcome.exit_code(), 3);
    assert!(
        verdict.reasons[0].contains("nothing was broken"),
        "{:?}",
        verdict.reasons
    );
}

#[tokio::test(start_paused = true)]
async fn a_baseline_of_too_few_requests_says_nothing() {
    let plan = gated(vec![Phase::Baseline], 1000);
    let finished = start(plan, Script::default()).finish().await;
    assert!(finished.calls.is_empty());
    assert!(matches!(
        finished.record.stopped,
        Some(StopCause::BaselineUnmet(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_good_baseline_lets_the_faults_begin_and_is_not_asked_again() {
    let plan = gated(vec![Phase::Baseline], 1);
    let script = Script {
        // The first fault has begun by then: what follows is no baseline.
        load: LoadScript::BrokenFrom(25),
        ..Script::default()
    };
    let finished = start(plan, script).finish().await;
    assert_eq!(finished.record.stopped, None);
    let injected = finished.calls();
    assert!(injected.contains(&"inject b@30".to_owned()), "{injected:?}");
}

#[tokio::test(start_paused = true)]
async fn objectives_about_more_than_the_baseline_hold_nothing_back() {
    for during in [Vec::new(), vec![Phase::Baseline, Phase::Fault]] {
        let finished = start(gated(during, 1), broken()).finish().await;
        assert_eq!(finished.record.stopped, None);
        assert!(!finished.calls.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_fault_there_is_nothing_to_hold_back() {
    let mut plan = gated(vec![Phase::Baseline], 1);
    plan.faults.clear();
    let finished = start(plan, broken()).finish().await;
    assert_eq!(finished.record.stopped, None);
    assert_eq!(finished.record.ticks.len(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_halt_reverts_at_once_and_keeps_the_load_through_recovery() {
    let running = start(plan(60, vec![fault("a", 1, 50)]), Script::default());
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    let halted = StopCause::Halted("by hand".to_owned());
    running.stop.send(halted.clone()).unwrap();
    let finished = running.finish().await;
    assert_eq!(finished.calls()[2..], ["recover a@10"]);
    assert_eq!(finished.record.ticks.len(), 15, "10 s and 5 s of recovery");
    assert_eq!(finished.record.stopped, Some(halted));
    let verdict = judge(&finished.record, &summarize(&finished.record));
    assert_eq!(verdict.outcome, Outcome::Aborted);
    assert_eq!(verdict.outcome.exit_code(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_ends_by_itself_is_over_when_its_driver_says_so() {
    let script = Script {
        recover_takes: [("restart", Duration::from_secs(90))].into(),
        ..Script::default()
    };
    let finished = start(plan(120, vec![fault("restart", 5, 5)]), script)
        .finish()
        .await;
    let record = &finished.record.faults[0];
    assert_eq!(record.injected, Some(Duration::from_secs(5)));
    assert_eq!(record.recovered, Some(Duration::from_secs(95)));
    assert!(record.errors.is_empty(), "{:?}", record.errors);
    assert_eq!(
        finished.calls(),
        ["prepare restart@5", "inject restart@5", "recover restart@5"]
    );
}
