//! Runs and what is said of them.

use holdfast_core::event::{Event, FaultAction, Stamped, StopCause, Tick, WorkerAccount};
use holdfast_core::evidence::ended_early;
use holdfast_core::outcome::{Reason, Source};
use holdfast_core::summary::summarize;
use holdfast_core::verdict::{Outcome, Verdict, judge};

use crate::run::{OUTAGE, Story, failed, ok, plan_with};

fn verdict(story: &Story) -> Verdict {
    let record = story.record();
    judge(&record, &summarize(&record))
}

/// A run of a minute in which the first `refused` seconds fail, with these objectives.
fn steady(objectives: &str, refused: u32) -> Story {
    let mut story = Story::new(plan_with(&format!("  steadyState: {objectives}")));
    let error = failed(1, Some(503), Reason::BreakerOpen);
    story.minute(|second| {
        if second < refused {
            error.clone()
        } else {
            ok(100)
        }
    });
    story.load.mean_users = f64::from(60 - refused) / 60.0;
    story.end();
    story
}

fn faulted(objectives: &str) -> Story {
    let mut story = Story::new(plan_with(&format!("{OUTAGE}  steadyState: {objectives}")));
    let error = failed(1, Some(503), Reason::BreakerOpen);
    story.minute(|second| match second {
        20..40 => error.clone(),
        _ => ok(100),
    });
    story.load.mean_users = 40.0 / 60.0;
    story
}

#[test]
fn an_objective_that_is_met_passes_and_says_why() {
    let verdict = verdict(&steady(
        "[{metric: availability, min: 50}, {metric: p99, max: 1s}]",
        12,
    ));
    assert_eq!(verdict.outcome, Outcome::Passed);
    insta::assert_snapshot!(verdict.reasons.join("\n"), @r#"
    availability: 80.00 % (95 % interval 76.61 to 83.01, n = 600), asked: ≥ 50.00 %
    p99: 100 ms (n = 600), asked: ≤ 1.00 s
    "#);
}

#[test]
fn an_objective_that_is_not_met_fails_with_value_bound_interval_and_count() {
    let verdict = verdict(&steady(
        "[{metric: p50, max: 1s}, {metric: availability, min: 99.9}]",
        12,
    ));
    assert_eq!(verdict.outcome, Outcome::Failed);
    assert_eq!(verdict.objectives[0].met, Some(true));
    assert_eq!(verdict.objectives[1].met, Some(false));
    insta::assert_snapshot!(verdict.reasons.join("\n"), @"availability: 80.00 % (95 % interval 76.61 to 83.01, n = 600), asked: ≥ 99.90 %");
}

#[test]
fn every_metric_is_judged_in_its_unit() {
    let mut story = faulted(
        "
    - {metric: availability, during: [fault, recovery], max: 10}
    - {metric: siegeAvailability, min: 60}
    - {metric: proberAvailability, during: [after], min: 100}
    - {metric: p50, max: 150ms}
    - {metric: p95, max: 10ms}
    - {metric: p99, during: [baseline], min: 50ms, max: 1s}
    - {metric: goodput, during: [baseline, after], min: 9.5/s}
    - {metric: recoveryTime, max: 5s}
",
    );
    story.fault(20.5, Some(39.5));
    story.end();
    let verdict = verdict(&story);
    let lines = verdict.objectives.iter();
    let lines: Vec<String> = lines.map(|j| format!("{:?}: {}", j.met, j.text)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    Some(true): availability in fault + recovery: 0.00 % (95 % interval 0.00 to 1.88, n = 200), asked: ≤ 10.00 %
    Some(true): siegeAvailability: 66.67 % (n = 600), asked: ≥ 60.00 %
    Some(true): proberAvailability in after: 100.00 % (95 % interval 98.12 to 100.00, n = 200), asked: ≥ 100.00 %
    Some(true): p50: 100 ms (n = 600), asked: ≤ 150 ms
    Some(false): p95: 100 ms (n = 600), asked: ≤ 10 ms
    Some(true): p99 in baseline: 100 ms (n = 200), asked: ≥ 50 ms and ≤ 1.00 s
    Some(true): goodput in baseline + after: 10.00/s (n = 400), asked: ≥ 9.50/s
    Some(true): recoveryTime: 0 s (n = 400), asked: ≤ 5.00 s
    "#);
}

#[test]
fn one_failure_in_many_does_not_read_as_all() {
    let mut story = Story::new(plan_with(
        "  steadyState: [{metric: availability, min: 100}]",
    ));
    let error = failed(1, Some(503), Reason::BreakerOpen);
    let samples = [(99_999, &ok(1)), (1, &error)];
    story.tick(Source::Users, 0, false, &samples);
    story.load.mean_users = 100.0 / 60.0;
    story.end();
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Failed);
    insta::assert_snapshot!(verdict.reasons[0], @"availability: 99.99900 % (95 % interval 99.99 to 100.00, n = 100000), asked: ≥ 100.00 %");
}

#[test]
fn nothing_asked_is_not_passed() {
    let verdict = verdict(&steady("[]", 0));
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(
        verdict.reasons,
        ["no objective: the experiment asks nothing"]
    );
}

#[test]
fn a_measurement_need_not_ask_anything() {
    let mut story = steady("[]", 0);
    story.run_mut().source_file.clear();
    let measured = verdict(&story);
    assert_eq!(measured.outcome, Outcome::Measured);
    assert_eq!(measured.outcome.exit_code(), 0);
    assert_eq!(measured.reasons, ["no threshold was given"]);
}

#[test]
fn too_few_requests_are_inconclusive_but_a_failed_objective_fails() {
    let few = "{metric: availability, min: 1, minRequests: 1000}";
    let verdict_of = |objectives: &str| verdict(&steady(objectives, 12));
    let open = verdict_of(&format!("[{few}]"));
    assert_eq!(open.outcome, Outcome::Inconclusive);
    insta::assert_snapshot!(open.reasons[0], @"availability: 80.00 % (95 % interval 76.61 to 83.01, n = 600), asked: ≥ 1.00 %, from at least 1000 requests");
    let both = verdict_of(&format!("[{few}, {{metric: availability, min: 90}}]"));
    assert_eq!(both.outcome, Outcome::Failed);
    assert_eq!(both.reasons.len(), 2);
}

#[test]
fn a_window_without_samples_is_inconclusive_never_a_pass() {
    // Service is steady from the first second after the fault: there is no recovery window.
    let mut story = faulted("[{metric: availability, during: [recovery], min: 0}]");
    story.fault(20.5, Some(39.5));
    story.end();
    assert_eq!(verdict(&story).outcome, Outcome::Inconclusive);
    // No request of any user was answered as expected: there is no latency.
    let verdict = verdict(&steady("[{metric: p99, max: 10s}]", 60));
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(verdict.objectives[0].measured, None);
}

#[test]
fn a_service_that_does_not_recover_fails_its_recovery_time() {
    let mut story = Story::new(plan_with(&format!(
        "{OUTAGE}  steadyState: [{{metric: recoveryTime, max: 5s}}]"
    )));
    let error = failed(100, Some(503), Reason::BreakerOpen);
    story.minute(|second| if second < 20 { ok(100) } else { error.clone() });
    story.fault(20.5, Some(39.5));
    story.end();
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Failed);
    insta::assert_snapshot!(verdict.reasons[0], @"recoveryTime: did not recover (n = 400), asked: ≤ 5.00 s");
}

#[test]
fn residue_outweighs_everything() {
    let mut story = faulted("[{metric: availability, min: 1}]");
    story.fault(20.5, Some(39.5));
    story.tell(50.0, Event::Stopped(StopCause::Interrupted));
    story.end();
    let Some(Event::RunFinished { residue }) = story.events.last_mut().map(|last| &mut last.event)
    else {
        panic!("a run ends with RunFinished");
    };
    residue.push("deployment pay has 0 replicas, had 1".to_owned());
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::NotReverted);
    assert_eq!(
        verdict.reasons,
        [
            "not put back: deployment pay has 0 replicas, had 1",
            "interrupted by Ctrl-C",
        ]
    );
    assert_eq!(verdict.objectives[0].met, None);
}

#[test]
fn a_fault_that_could_not_be_undone_is_not_reverted_unless_a_later_attempt_succeeded() {
    for (later, outcome) in [(None, Outcome::NotReverted), (Some(41.0), Outcome::Passed)] {
        let mut story = faulted("[{metric: availability, min: 1}]");
        let error = Event::FaultFailed {
            fault: "pay-gone".to_owned(),
            action: FaultAction::Recover,
            error: "api server away".to_owned(),
        };
        story.fault(20.5, later);
        story.tell(42.0, error);
        story.end();
        let verdict = verdict(&story);
        assert_eq!(verdict.outcome, outcome, "{:?}", verdict.reasons);
    }
}

#[test]
fn a_run_that_broke_off_after_an_injection_is_not_reverted() {
    let mut story = faulted("[{metric: availability, min: 1}]");
    story.fault(20.5, None);
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::NotReverted);
    assert!(
        verdict
            .reasons
            .contains(&"the run did not finish".to_owned())
    );
}

#[test]
fn an_early_end_has_its_own_outcome() {
    let words = || "availability 12.00 % over 15 s, at least 20 %".to_owned();
    for (cause, outcome) in [
        (StopCause::Interrupted, Outcome::Interrupted),
        (StopCause::Terminated, Outcome::Terminated),
        (StopCause::StopCondition(words()), Outcome::Aborted),
        (StopCause::Halted(words()), Outcome::Aborted),
        (StopCause::BaselineUnmet(words()), Outcome::Inconclusive),
        (StopCause::FaultFailed(words()), Outcome::Inconclusive),
        (StopCause::LoadFailed(words()), Outcome::Inconclusive),
    ] {
        let mut story = steady("[{metric: availability, min: 1}]", 0);
        let last = story.events.pop().unwrap();
        story.tell(60.0, Event::Stopped(cause));
        story.events.push(last);
        let verdict = verdict(&story);
        assert_eq!(verdict.outcome, outcome);
        assert_eq!(verdict.reasons.len(), 1);
        assert_eq!(verdict.objectives[0].met, None);
    }
}

#[test]
fn a_planned_fault_that_never_was_in_effect_proves_nothing() {
    let mut story = faulted("[{metric: availability, min: 1}]");
    story.end();
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(verdict.reasons, ["the fault pay-gone was never in effect"]);
}

#[test]
fn a_fault_that_nothing_felt_proves_nothing() {
    let felt = |connections: u64| {
        let mut story = faulted("[{metric: availability, min: 1}]");
        story.fault(20.5, Some(39.5));
        for stamped in &mut story.events {
            if let Event::FaultRecovered { evidence, .. } = &mut stamped.event {
                *evidence = format!(
                    r#"pod p said: {{"about":{{"evidence":{{"connections":{connections}}},"mode":"proxy"}},"event":"began"}}; pod p deleted"#
                );
            }
        }
        story.end();
        verdict(&story)
    };
    let unfelt = felt(0);
    assert_eq!(unfelt.outcome, Outcome::Inconclusive);
    assert_eq!(
        unfelt.reasons,
        ["nothing felt the fault pay-gone: its proxy saw 0 connections"]
    );
    assert_eq!(felt(1).outcome, Outcome::Passed);
}

#[test]
fn a_fault_that_ended_early_makes_the_run_say_nothing() {
    let mut story = faulted("[{metric: availability, min: 1}]");
    story.fault(20.5, Some(39.5));
    for stamped in &mut story.events {
        if let Event::FaultRecovered { evidence, .. } = &mut stamped.event {
            *evidence = ended_early("the run that wanted it is gone", evidence);
        }
    }
    story.end();
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(
        verdict.reasons,
        ["the fault pay-gone ended early: the run that wanted it is gone"]
    );
    assert_eq!(verdict.objectives[0].met, None);
}

#[test]
fn a_fault_that_nothing_proves_proves_nothing() {
    let mut story = faulted("[{metric: availability, min: 1}]");
    story.fault(20.5, Some(39.5));
    for stamped in &mut story.events {
        if let Event::FaultInjected { evidence, .. } = &mut stamped.event {
            evidence.clear();
        }
    }
    story.end();
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(
        verdict.reasons,
        ["nothing proves that the fault pay-gone was in effect"]
    );
}

#[test]
fn a_generator_that_was_the_bottleneck_voids_the_run() {
    let mut story = Story::new(plan_with(
        "  steadyState: [{metric: availability, min: 99}]",
    ));
    story.minute(|_| ok(100));
    story.load.saturated_seconds = (0..14).collect();
    story.end();
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(verdict.reasons, ["invalid: generator saturated 14 of 60 s"]);
}

#[test]
fn a_lost_worker_makes_the_run_say_nothing() {
    let mut story = Story::new(plan_with(
        "  steadyState: [{metric: availability, min: 99}]",
    ));
    story.minute(|_| ok(100));
    // Who is lost has told how long its users were at work no more than its other totals.
    story.load.mean_users = 0.5;
    story.load.workers = vec![
        WorkerAccount::default(),
        WorkerAccount {
            index: 1,
            lost: Some("its connection ended in second 12".to_owned()),
            ..WorkerAccount::default()
        },
    ];
    story.end();
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert_eq!(
        verdict.reasons,
        ["worker 1 of 2 was lost: its connection ended in second 12"]
    );
}

#[test]
fn requests_that_do_not_add_up_void_the_run() {
    let mut story = steady("[{metric: availability, min: 1}]", 0);
    let lost = story
        .events
        .iter()
        .position(|e| matches!(e.event, Event::LoadStopped));
    let mut tick = Tick::new(Source::Users, 59, false);
    tick.sent = 1;
    tick.scheduled = 1;
    let stamped = Stamped {
        at: story.events[lost.unwrap()].at,
        event: Event::Tick(Box::new(tick)),
    };
    story.events.insert(lost.unwrap(), stamped);
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    insta::assert_snapshot!(verdict.reasons.join("\n"), @"invalid: requests do not add up: 1201 scheduled, 1201 sent, 0 dropped; 1200 expected, 0 unexpected, 0 cut off");
}
