//! What must go together: checks over more than one section. A section that could not be read is
//! `None` here, and was reported where it stands.

use std::ops::Range;
use std::time::Duration;

use super::Placed;
use super::problems::{Fields, Problems};
use crate::experiment::{
    Address, Load, Metric, Objective, Phase, Safety, SafetyNet, Step, Windows,
};

/// baseline + at + duration + recovery of each step is within the load.
pub(super) fn fits_in_load(
    method: &Option<Vec<Placed<Step>>>,
    windows: Option<&Windows>,
    load: Option<&Load>,
    problems: &mut Problems,
) {
    let (Some(method), Some(windows), Some(load)) = (method, windows, load) else {
        return;
    };
    let total = load.model.duration();
    for step in method {
        let Step {
            name, at, duration, ..
        } = &step.value;
        let needed = windows.baseline + *at + *duration + windows.recovery;
        if needed > total {
            problems.report(
                &step.at,
                format!(
                    "the step `{name}` does not fit: the baseline, its start, its duration and \
                     the recovery are {needed:?}, the stages {total:?}"
                ),
                "allowed: stages that last until the recovery after the last fault has passed",
            );
        }
    }
}

/// Nothing stays broken longer, unless the experiment permits it by name (`safety.md`).
const LONGEST_FAULT: Duration = Duration::from_secs(5 * 60);

/// A fault that is held for long is meant to be.
pub(super) fn long_faults_permitted(
    method: &Option<Vec<Placed<Step>>>,
    safety: Option<&Safety>,
    problems: &mut Problems,
) {
    let (Some(method), Some(safety)) = (method, safety) else {
        return;
    };
    if safety.allow.contains(&SafetyNet::LongFault) {
        return;
    }
    for step in method {
        let Step { name, duration, .. } = &step.value;
        if *duration > LONGEST_FAULT {
            problems.report(
                &step.at,
                format!("the step `{name}` is held for {duration:?}"),
                "allowed: up to 5m, and up to 30m with `safety: {allow: [longFault]}`",
            );
        }
    }
}

/// Two faults never hold the same thing at once, nor one right after the other: each would record
/// the other's state as the original. Faults that hold different things may overlap.
pub(super) fn no_overlap(method: &Option<Vec<Placed<Step>>>, problems: &mut Problems) {
    let Some(method) = method else { return };
    let mut steps: Vec<&Placed<Step>> = method.iter().collect();
    steps.sort_by_key(|step| step.value.at);
    for (index, later) in steps.iter().enumerate() {
        let holds = later.value.fault.holds();
        let clash = steps[..index].iter().find_map(|earlier| {
            let ends = earlier.value.at + earlier.value.duration;
            let held = earlier.value.fault.holds();
            let both = held.into_iter().find(|held| holds.contains(held))?;
            (ends >= later.value.at).then_some((earlier, both, ends))
        });
        if let Some((earlier, both, ends)) = clash {
            problems.report(
                &later.at,
                format!(
                    "the step `{}` begins before the step `{}` has ended, and both hold {both}",
                    later.value.name, earlier.value.name
                ),
                format!("allowed: `at` later than {ends:?}"),
            );
        }
    }
}

/// A step's name identifies its fault in events and undo records.
pub(super) fn unique_names(method: &Option<Vec<Placed<Step>>>, problems: &mut Problems) {
    let Some(method) = method else { return };
    for (index, step) in method.iter().enumerate() {
        let name = &step.value.name;
        if method[..index]
            .iter()
            .any(|other| other.value.name == *name)
        {
            problems.report(
                &step.at,
                format!("two steps are called `{name}`"),
                "allowed: a name of its own for each step",
            );
        }
    }
}

/// Services and Deployments are names within a namespace, which only `system` gives. `asked`: the
/// addresses that the experiment asks, `read`: what it reads in the cluster, each with its place.
pub(super) fn namespace_known<'a>(
    spec: &Fields<'_>,
    method: &Option<Vec<Placed<Step>>>,
    asked: impl Iterator<Item = (&'a Address, &'a Range<usize>)>,
    read: impl Iterator<Item = (String, &'a Range<usize>)>,
    problems: &mut Problems,
) {
    if spec.get("system").is_some() {
        return;
    }
    let target = spec.get("load").and_then(|load| load.entry("target"));
    if let Some(service) = target.and_then(|target| target.entry("service")) {
        problems.report(
            &service.at,
            "a service is the target, but no namespace is known",
            "allowed: `spec.system` with its `namespace`, or `target: {url: http://…}`",
        );
    }
    for (address, at) in asked {
        if let Address::Service { name, .. } = address {
            problems.report(
                at,
                format!("service {name} is asked, but no namespace is known"),
                "allowed: `spec.system` with its `namespace`, or `{url: http://…}`",
            );
        }
    }
    // A node has no namespace; without a system there is no cluster either.
    for (what, at) in read {
        problems.report(
            at,
            format!("{what} is read in the system's cluster, but there is no system"),
            "allowed: this stop condition together with `spec.system` and its `namespace`",
        );
    }
    if let Some(step) = method.as_ref().and_then(|steps| steps.first()) {
        problems.report(
            &step.at,
            format!(
                "the step `{}` breaks something by its name, but no namespace is known",
                step.value.name
            ),
            "allowed: faults together with `spec.system` and its `namespace`",
        );
    }
}

/// Every objective asks about something that this experiment will measure.
pub(super) fn objectives_have_data(
    objectives: &Option<Vec<Placed<Objective>>>,
    spec: &Fields<'_>,
    load: Option<&Load>,
    problems: &mut Problems,
) {
    let subject = Subject {
        has_fault: !spec.get("method").is_none_or(is_empty),
        // What could not be read is reported where it stands.
        has_prober: load.is_none_or(|load| load.prober.is_some()),
    };
    for Placed { value, at } in objectives.iter().flatten() {
        for Unmeasured { message, allowed } in unmeasured(value, subject) {
            problems.report(at, message, format!("allowed: {}", allowed.in_file));
        }
    }
}

/// What a run will have to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) has_fault: bool,
    pub(super) has_prober: bool,
}

/// Why a run will not measure what an objective asks about.
#[derive(Debug)]
pub(super) struct Unmeasured {
    pub(super) message: String,
    pub(super) allowed: Allowed,
}

/// What is allowed instead, as an experiment file has it and as a command line has it.
#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) in_file: &'static str,
    pub(super) in_threshold: &'static str,
}

/// Every reason why a run will not measure what the objective asks about.
pub(super) fn unmeasured(objective: &Objective, subject: Subject) -> Vec<Unmeasured> {
    let mut found = Vec::new();
    let metric = objective.metric;
    let needs_fault =
        metric == Metric::RecoveryTime || objective.during.iter().any(|it| *it != Phase::Baseline);
    if needs_fault && !subject.has_fault {
        found.push(Unmeasured {
            message: "the objective asks about a fault, but there is none".to_owned(),
            allowed: Allowed {
                in_file: "`during: [baseline]` or no `during`, or a step in `spec.method`",
                in_threshold: "the metric without `{phase:…}`, or a run with a fault",
            },
        });
    }
    let whole_run = matches!(metric, Metric::RecoveryTime | Metric::SiegeAvailability);
    if whole_run && !objective.during.is_empty() {
        found.push(Unmeasured {
            message: format!("`{}` is measured over the whole run", metric.name()),
            allowed: Allowed {
                in_file: "the objective without `during`",
                in_threshold: "the metric without `{phase:…}`",
            },
        });
    }
    if metric == Metric::ProberAvailability && !subject.has_prober {
        found.push(Unmeasured {
            message: "the objective asks about the prober, which is switched off".to_owned(),
            allowed: Allowed {
                in_file: "`load.prober` with a rate above 0/s",
                in_threshold: "another metric, or a run with a prober",
            },
        });
    }
    found
}

fn is_empty(method: &super::Node) -> bool {
    matches!(&method.value, super::Value::List(items) if items.is_empty())
}
