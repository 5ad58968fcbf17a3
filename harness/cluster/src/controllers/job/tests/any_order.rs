//! Whatever happens to pods, in whatever order, counts are right.

use proptest::prelude::*;

use super::*;

/// Something that happens to a Job; numbers choose a pod.
#[derive(Clone, Debug)]
enum Step {
    Succeed(usize),
    Fail(usize),
    Delete(usize),
    /// The kubelet has finished with a pod that is being deleted, which ended one way or the other.
    Bury(usize, bool),
    Parallelism(u32),
    /// The controller looks, and is interrupted after it has removed so many finalizers.
    Look(usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<usize>().prop_map(Step::Succeed),
        any::<usize>().prop_map(Step::Fail),
        any::<usize>().prop_map(Step::Delete),
        any::<(usize, bool)>().prop_map(|(pod, succeeded)| Step::Bury(pod, succeeded)),
        (1..5_u32).prop_map(Step::Parallelism),
        (0..4_usize).prop_map(Step::Look),
        Just(Step::Wait),
    ]
}

fn spec() -> impl Strategy<Value = Value> {
    let completions = prop_oneof![Just(Value::Null), (0..6_u32).prop_map(Value::from)];
    let policy = prop_oneof![Just("Failed"), Just("TerminatingOrFailed")];
    let limit = prop_oneof![Just(1_u32), Just(50)];
    (completions, 1..5_u32, any::<bool>(), policy, limit).prop_map(
        |(completions, parallelism, indexed, policy, limit)| {
            let indexed = indexed && completions.is_number();
            json!({
                "completions": completions,
                "parallelism": parallelism,
                "completionMode": if indexed { "Indexed" } else { "NonIndexed" },
                "podReplacementPolicy": policy,
                "backoffLimit": limit,
            })
        },
    )
}

fn phase(succeeded: bool) -> &'static str {
    match succeeded {
        true => "Succeeded",
        false => "Failed",
    }
}

/// Counts what the controller did, next to what it says.
#[derive(Default)]
struct Ledger {
    created: usize,
    discarded: usize,
}

impl Ledger {
    fn look(&mut self, stage: &mut Stage, finalizers: usize) {
        let plan = stage.look(finalizers);
        self.created += plan.create.len();
        self.discarded += plan.discard.len();
        stage.run_pods();
    }

    fn take(&mut self, stage: &mut Stage, step: &Step) {
        let choose = |pods: Vec<Pod>, number: usize| {
            let index = number.checked_rem(pods.len())?;
            pods.into_iter().nth(index)
        };
        let terminating = || {
            let pods = stage.pods().into_iter();
            pods.filter(super::super::pods::is_terminating).collect()
        };
        match *step {
            Step::Succeed(number) | Step::Fail(number) => {
                if let Some(pod) = choose(stage.active(), number) {
                    stage.end(&pod, phase(matches!(step, Step::Succeed(_))));
                }
            }
            Step::Delete(number) => {
                if let Some(pod) = choose(stage.pods(), number) {
                    stage.delete(&pod);
                }
            }
            Step::Bury(number, succeeded) => {
                if let Some(pod) = choose(terminating(), number) {
                    stage.end(&pod, phase(succeeded));
                    stage.bury(&pod);
                }
            }
            Step::Parallelism(parallelism) => {
                stage.change_spec(&json!({"parallelism": parallelism}));
            }
            Step::Look(finalizers) => self.look(stage, finalizers),
            Step::Wait => stage.now += SignedDuration::from_secs(1000),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_pod_counts_once(spec in spec(), steps in prop::collection::vec(step(), 0..60)) {
        let completions = spec["completions"].as_u64();
        let mut stage = Stage::with(&spec);
        let mut ledger = Ledger { created: stage.pods().len(), ..Ledger::default() };
        let mut before = stage.counts();
        for step in &steps {
            ledger.take(&mut stage, step);
            let counts = stage.counts();
            let [_, succeeded, failed] = counts;
            prop_assert!(succeeded >= before[1] && failed >= before[2], "{before:?} {counts:?}");
            if let Some(completions) = completions {
                prop_assert!(u64::try_from(succeeded).unwrap() <= completions, "{counts:?}");
            }
            before = counts;
        }
        // From now on all goes well, so the Job ends, and every pod has been counted.
        for _ in 0..30 {
            for pod in stage.pods() {
                if super::super::pods::is_terminating(&pod) {
                    stage.end(&pod, "Failed");
                    stage.bury(&pod);
                }
            }
            for pod in stage.active() {
                stage.end(&pod, "Succeeded");
            }
            stage.now += SignedDuration::from_secs(1000);
            ledger.look(&mut stage, usize::MAX);
        }
        let ended = finished(&stage);
        prop_assert!(ended.is_some(), "{:#?}", stage.job().status);
        let [active, succeeded, failed] = stage.counts();
        prop_assert_eq!(active, 0);
        if ended == Some(true) {
            prop_assert!(u64::try_from(succeeded).unwrap() >= completions.unwrap_or(1));
        }
        let counted = usize::try_from(succeeded + failed).unwrap();
        let ends = ledger.created - ledger.discarded;
        // Of a Job that is complete nobody waits for what still terminates.
        let all_count = ended == Some(false) || spec["podReplacementPolicy"] != "Failed";
        prop_assert!(counted == ends || !all_count && counted < ends, "{counted} of {ends}");
    }
}

/// Whether the Job is complete; nothing while it goes on.
fn finished(stage: &Stage) -> Option<bool> {
    stage
        .conditions()
        .iter()
        .find_map(|(type_, _)| match type_.as_str() {
            "Complete" => Some(true),
            "Failed" => Some(false),
            _ => None,
        })
}
