//! A record survives JSON, and is a function of the journal.

use holdfast_core::event::{Event, FaultAction, Stamped, StopCause};
use holdfast_core::evidence::afterwards;
use holdfast_core::record::Record;
use holdfast_core::summary::summarize;
use holdfast_core::verdict::judge;

use crate::run::{OUTAGE, Story, eventful, plan_with, secs};

#[test]
fn a_record_round_trips_through_json() {
    let record = eventful().record();
    let text = serde_json::to_string(&record).unwrap();
    let read: Record = serde_json::from_str(&text).unwrap();
    assert_eq!(read, record);
}

#[test]
fn figures_and_verdict_can_be_computed_again_from_the_journal() {
    let story = eventful();
    let live = story.record();
    let lines: Vec<String> = story
        .events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap())
        .collect();
    let events: Vec<Stamped> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let replayed = Story {
        events,
        load: story.load.clone(),
    }
    .record();
    assert_eq!(replayed, live);
    let summary = summarize(&replayed);
    assert_eq!(summary, summarize(&live));
    assert_eq!(judge(&replayed, &summary), judge(&live, &summarize(&live)));
}

#[test]
fn the_halves_of_a_fault_are_folded_into_one_record() {
    let mut story = Story::new(plan_with(OUTAGE));
    story.fault(20.0, None);
    let error = "api server away".to_owned();
    story.tell(
        45.0,
        Event::FaultFailed {
            fault: "pay-gone".to_owned(),
            action: FaultAction::Recover,
            error,
        },
    );
    let record = story.record();
    let [fault] = record.faults.as_slice() else {
        panic!("{:?}", record.faults);
    };
    assert_eq!(fault.undo, "scale pay to 1");
    assert_eq!(fault.injected, Some(secs(22.5)));
    assert_eq!(fault.recovered, None);
    assert_eq!(fault.errors[0].action, FaultAction::Recover);
}

#[test]
fn a_fault_is_undone_before_its_pods_are_ready_again() {
    let mut story = Story::new(plan_with(OUTAGE));
    story.fault(20.0, Some(44.0));
    for stamped in &mut story.events {
        if let Event::FaultRecovered { evidence, .. } = &mut stamped.event {
            *evidence = afterwards(evidence, secs(4.0), "deployment pay has 1 ready pod");
        }
    }
    let fault = &story.record().faults[0];
    assert_eq!(fault.recovered, Some(secs(42.5)));
}

#[test]
fn the_first_cause_of_a_stop_counts() {
    let mut story = Story::new(plan_with(""));
    story.tell(1.0, Event::Stopped(StopCause::Interrupted));
    story.tell(2.0, Event::Stopped(StopCause::LoadFailed("x".to_owned())));
    assert_eq!(story.record().stopped, Some(StopCause::Interrupted));
}
