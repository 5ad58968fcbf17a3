//! What is said of the system's data in the end.

use std::time::Duration;

use holdfast_core::event::{Event, StopCause};
use holdfast_core::invariant::{Checked, Finding};
use holdfast_core::summary::summarize;
use holdfast_core::verdict::{Outcome, Verdict, baseline_unmet, judge};

use crate::run::{OUTAGE, Story, failed, ok, plan_with};
use holdfast_core::outcome::Reason;

const INVARIANT: &str =
    "  invariants: [{name: orders, get: {service: auditor, path: /invariants}, within: 60s}]\n";

fn checked() -> Checked {
    Checked {
        name: "orders".to_owned(),
        settled: true,
        after: Duration::from_millis(3200),
        violations: Vec::new(),
        due: Vec::new(),
        error: None,
    }
}

fn finding(invariant: &str, about: &[&str], count: u64) -> Finding {
    Finding {
        invariant: invariant.to_owned(),
        statement: "each order is paid exactly once".to_owned(),
        about: about.iter().map(|id| (*id).to_owned()).collect(),
        count,
    }
}

/// A good minute with these objectives, after which `checked` was answered.
fn story(objectives: &str, checked: Option<Checked>) -> Story {
    let mut story = Story::new(plan_with(&format!("{objectives}{INVARIANT}")));
    story.minute(|_| ok(100));
    story.end();
    if let Some(checked) = checked {
        story.answered(checked);
    }
    story
}

fn verdict(story: &Story) -> Verdict {
    let record = story.record();
    judge(&record, &summarize(&record))
}

const MET: &str = "  steadyState: [{metric: availability, min: 99}]\n";
const MISSED: &str = "  steadyState: [{metric: p50, max: 1ms}]\n";

#[test]
fn an_invariant_that_holds_passes_and_its_time_is_a_figure() {
    let story = story(MET, Some(checked()));
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Passed);
    assert_eq!(verdict.invariants[0].held, Some(true));
    insta::assert_snapshot!(verdict.reasons[1], @"invariant orders: holds, settled 3.20 s after the load and the last undo");
    let convergence = summarize(&story.record()).convergence;
    assert_eq!(convergence["orders"], Some(3.2));
}

#[test]
fn an_invariant_alone_is_something_asked() {
    assert_eq!(
        verdict(&story("", Some(checked()))).outcome,
        Outcome::Passed
    );
}

#[test]
fn a_violation_fails_and_names_the_first_things_concerned() {
    let ids = ["7", "9", "11", "13", "15", "17"];
    let story = story(
        MET,
        Some(Checked {
            settled: false,
            violations: vec![
                finding("paidOnce", &ids, 40),
                finding("refunded", &["8"], 1),
            ],
            ..checked()
        }),
    );
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Failed);
    assert_eq!(verdict.invariants[0].held, Some(false));
    insta::assert_snapshot!(verdict.reasons.join("\n"), @"invariant orders: violated, 3.20 s after the load and the last undo: paidOnce (each order is paid exactly once): 7, 9, 11, 13, 15 and 35 more; refunded (each order is paid exactly once): 8");
    assert_eq!(summarize(&story.record()).convergence["orders"], None);
}

#[test]
fn a_system_that_does_not_settle_in_time_fails() {
    let verdict = verdict(&story(
        MET,
        Some(Checked {
            settled: false,
            after: Duration::from_secs(60),
            due: vec![finding("delivered", &["7"], 1)],
            ..checked()
        }),
    ));
    assert_eq!(verdict.outcome, Outcome::Failed);
    insta::assert_snapshot!(verdict.reasons[0], @"invariant orders: not settled within 60.00 s after the load and the last undo: delivered (each order is paid exactly once): 7");
}

#[test]
fn who_does_not_answer_says_nothing_but_a_missed_objective_fails() {
    let silent = || Checked {
        settled: false,
        error: Some("connection refused".to_owned()),
        ..checked()
    };
    let open = verdict(&story(MET, Some(silent())));
    assert_eq!(open.outcome, Outcome::Inconclusive);
    insta::assert_snapshot!(open.reasons[0], @"invariant orders: could not be asked of service auditor at /invariants: connection refused");
    let both = verdict(&story(MISSED, Some(silent())));
    assert_eq!(both.outcome, Outcome::Failed);
    let never = verdict(&story(MET, None));
    assert_eq!(never.outcome, Outcome::Inconclusive);
    assert_eq!(never.reasons, ["invariant orders: was not asked about"]);
}

#[test]
fn an_aborted_run_judges_no_invariant() {
    let mut story = story(MET, Some(checked()));
    let last = story.events.pop().unwrap();
    story.tell(
        70.0,
        Event::Stopped(StopCause::Halted("by hand".to_owned())),
    );
    story.events.push(last);
    let verdict = verdict(&story);
    assert_eq!(verdict.outcome, Outcome::Aborted);
    assert_eq!(verdict.reasons, ["halted: by hand"]);
    assert_eq!(verdict.invariants[0].held, None);
}

#[test]
fn the_baseline_so_far_is_judged_as_objectives_are() {
    let objectives = "  steadyState: [{metric: availability, during: [baseline], min: 100, minRequests: 50}, {metric: p99, during: [fault], max: 1ms}]\n";
    let mut story = Story::new(plan_with(&format!("{OUTAGE}{objectives}")));
    let second = |story: &mut Story, number, sample| {
        story.second(holdfast_core::outcome::Source::Users, number, &sample);
    };
    for number in 0..4 {
        second(&mut story, number, ok(100));
    }
    let few = baseline_unmet(&story.record()).unwrap();
    assert!(few.contains("from at least 50 requests"), "{few}");
    second(&mut story, 4, ok(100));
    assert_eq!(baseline_unmet(&story.record()), None);
    second(&mut story, 5, failed(1, Some(503), Reason::Status5xx));
    let bad = baseline_unmet(&story.record()).unwrap();
    assert!(
        bad.starts_with("availability in baseline: 83.33 %"),
        "{bad}"
    );
}
