//! What was broken is put back, whatever happens in between.

use std::time::Duration;

use holdfast_core::event::{FaultAction, StopCause};
use proptest::prelude::*;

use crate::script::{Behaviour, LoadScript, Script, fault, plan, start};

#[tokio::test(start_paused = true)]
async fn an_interruption_reverts_in_reverse_order_and_begins_nothing_more() {
    let faults = vec![fault("a", 1, 50), fault("b", 2, 50), fault("c", 30, 50)];
    let running = start(plan(60, faults), Script::default());
    tokio::time::sleep(Duration::from_secs(10)).await;
    running.stop.send(StopCause::Interrupted).unwrap();
    let finished = running.finish().await;
    assert_eq!(
        finished.calls()[4..],
        ["recover b@10", "recover a@10"],
        "{:?}",
        finished.calls()
    );
    assert_eq!(finished.record.stopped, Some(StopCause::Interrupted));
    assert!(finished.record.residue.is_empty());
    assert!(
        finished.load_finished().is_some(),
        "the load drains and accounts"
    );
}

#[tokio::test(start_paused = true)]
async fn what_ends_by_itself_keeps_nothing_else_in_effect() {
    // `killed` is over a minute after it began, whatever anybody does.
    let faults = || vec![fault("a", 1, 50), fault("killed", 2, 2), fault("b", 3, 50)];
    let script = || Script {
        recover_takes: [
            ("killed", Duration::from_millis(60_500)),
            ("b", Duration::from_secs(4)),
        ]
        .into(),
        ..Script::default()
    };
    let running = start(plan(60, faults()), script());
    tokio::time::sleep(Duration::from_secs(10)).await;
    running.stop.send(StopCause::Interrupted).unwrap();
    let finished = running.finish().await;
    let mut recovered = finished.calls();
    recovered.retain(|call| call.starts_with("recover"));
    assert_eq!(
        recovered,
        ["recover killed@2", "recover b@10", "recover a@14"]
    );
    assert!(finished.record.residue.is_empty());

    // A halt keeps the load up until everything is over, and through the recovery window.
    let running = start(plan(100, faults()), script());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let halted = StopCause::Halted("by hand".to_owned());
    running.stop.send(halted).unwrap();
    let finished = running.finish().await;
    assert_eq!(finished.record.ticks.len(), 67, "2 s, 60.5 s and 5 s");
}

/// Pods that start anew one after the other may take longer than anything that is injected.
#[tokio::test(start_paused = true)]
async fn an_undo_may_take_minutes() {
    let script = Script {
        recover_takes: [("a", Duration::from_secs(170))].into(),
        ..Script::default()
    };
    let finished = start(plan(300, vec![fault("a", 1, 5)]), script)
        .finish()
        .await;
    assert!(finished.record.faults[0].errors.is_empty());
    assert!(finished.record.faults[0].recovered.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_interruption_in_the_middle_of_an_injection_waits_for_it_and_undoes_it() {
    let script = Script {
        inject_takes: Duration::from_secs(5),
        ..Script::default()
    };
    let running = start(plan(60, vec![fault("a", 1, 50)]), script);
    tokio::time::sleep(Duration::from_secs(3)).await;
    running.stop.send(StopCause::Interrupted).unwrap();
    running.stop.send(StopCause::Interrupted).unwrap();
    let finished = running.finish().await;
    assert_eq!(
        finished.calls(),
        ["prepare a@1", "inject a@1", "recover a@6"]
    );
    assert!(finished.record.residue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failing_panicking_or_hanging_injection_is_undone_and_ends_the_run() {
    for behaviour in [Behaviour::Fail, Behaviour::Panic, Behaviour::Hang] {
        let script = Script {
            inject: behaviour,
            ..Script::default()
        };
        let finished = start(plan(200, vec![fault("a", 1, 190)]), script)
            .finish()
            .await;
        assert!(
            matches!(finished.record.stopped, Some(StopCause::FaultFailed(_))),
            "{behaviour:?}"
        );
        assert_eq!(finished.record.faults[0].injected, None, "{behaviour:?}");
        assert!(finished.record.residue.is_empty(), "{behaviour:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_whose_undo_cannot_be_stored_is_never_injected() {
    let script = Script {
        prepare: Behaviour::Fail,
        ..Script::default()
    };
    let finished = start(plan(20, vec![fault("a", 1, 10)]), script)
        .finish()
        .await;
    assert!(
        !finished
            .calls()
            .iter()
            .any(|call| call.starts_with("inject"))
    );
}

#[tokio::test(start_paused = true)]
async fn recovery_is_retried_and_goes_on_past_failures() {
    let script = Script {
        recover: vec![Behaviour::Fail, Behaviour::Panic, Behaviour::Hang],
        ..Script::default()
    };
    let finished = start(plan(120, vec![fault("a", 1, 5)]), script)
        .finish()
        .await;
    let errors = &finished.record.faults[0].errors;
    assert_eq!(errors.len(), 3);
    assert!(
        errors
            .iter()
            .all(|error| error.action == FaultAction::Recover)
    );
    assert!(finished.record.faults[0].recovered.is_some());
    assert!(finished.record.residue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_cannot_be_undone_is_residue_and_does_not_keep_others_from_it() {
    let script = Script {
        recover: vec![Behaviour::Fail; 11],
        ..Script::default()
    };
    let faults = vec![fault("a", 1, 50), fault("b", 2, 50)];
    let running = start(plan(60, faults), script);
    tokio::time::sleep(Duration::from_secs(10)).await;
    running.stop.send(StopCause::Interrupted).unwrap();
    let finished = running.finish().await;
    assert_eq!(finished.record.residue, ["b"]);
    assert!(finished.record.faults[0].recovered.is_some(), "a is undone");
    assert!(finished.record.faults[1].recovered.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_panicking_load_driver_does_not_keep_faults_in_place() {
    let script = Script {
        load: LoadScript::PanicAfter(4),
        ..Script::default()
    };
    let finished = start(plan(60, vec![fault("a", 1, 50)]), script)
        .finish()
        .await;
    assert_eq!(
        finished.record.stopped,
        Some(StopCause::LoadFailed("the load driver panicked".to_owned()))
    );
    assert!(finished.record.residue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_or_hangs_is_residue_and_the_run_still_ends() {
    for behaviour in [Behaviour::Panic, Behaviour::Hang] {
        let script = Script {
            residue: behaviour,
            ..Script::default()
        };
        let finished = start(plan(3, Vec::new()), script).finish().await;
        assert!(finished.record.finished, "{behaviour:?}");
        assert_eq!(finished.record.residue.len(), 1, "{behaviour:?}");
    }
}

fn behaviours() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        4 => Just(Behaviour::Succeed),
        1 => Just(Behaviour::Fail),
        1 => Just(Behaviour::Panic),
        1 => Just(Behaviour::Hang),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random timelines, behaviours and interruptions: every run ends, tells its end last, and
    /// leaves nothing in effect.
    #[test]
    fn every_run_ends_with_everything_put_back(
        spans in prop::collection::vec((0_u64..40, 1_u64..40), 0..4),
        inject in behaviours(),
        recover in prop::collection::vec(behaviours(), 0..4),
        interrupt_at in prop::option::of(0_u64..90),
        takes in 0_u64..10,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async move {
            let faults: Vec<_> = spans
                .iter()
                .enumerate()
                .map(|(index, (start, length))| fault(&format!("f{index}"), *start, start + length))
                .collect();
            let script = Script { inject, recover, inject_takes: Duration::from_secs(takes), ..Script::default() };
            let running = start(plan(80, faults), script);
            if let Some(second) = interrupt_at {
                tokio::time::sleep(Duration::from_secs(second)).await;
                // A run that has already ended cannot be interrupted.
                drop(running.stop.send(StopCause::Interrupted));
            }
            let finished = running.finish().await;
            assert!(finished.record.finished);
            assert!(finished.record.residue.is_empty(), "{:?}", finished.calls());
            for (index, (call, fault, _)) in finished.calls.iter().enumerate() {
                if *call == "inject" {
                    let later = &finished.calls[index..];
                    assert!(later.iter().any(|(call, name, _)| *call == "recover" && name == fault));
                }
            }
        });
    }
}
