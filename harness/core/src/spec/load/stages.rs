//! `stages`, `arrivals` and `maxInFlight`: how many requests are on their way, and when.

use std::time::Duration;

use super::many;
use crate::experiment::{Arrivals, Model, RateStage, Spacing, Stage};
use crate::spec::problems::{Fields, Problems};
use crate::spec::tree::{Node, Value};

/// More connections than one address has ports: a typo, not a load.
pub const MOST_IN_FLIGHT: u32 = 100_000;

/// The stages of users, or of arrivals: the first one decides.
pub(super) fn read(load: &Fields<'_>, timeout: Duration, problems: &mut Problems) -> Option<Model> {
    let node = load.required("stages", problems)?;
    if !is_open(node) {
        for field in ["arrivals", "maxInFlight"] {
            if let Some(node) = load.get(field) {
                problems.report(
                    &node.at,
                    format!("`{field}` belongs to stages with a `rate`, and these have users"),
                    "allowed: stages such as {rate: 200/s, duration: 60s}",
                );
            }
        }
        let stages = many(node, "stages", stage, problems)?;
        if stages.iter().all(|stage| stage.users == 0) {
            problems.report(
                &node.at,
                "no stage has a user",
                "allowed: at least one stage that sends, such as {users: 10, duration: 60s}",
            );
            return None;
        }
        return Some(Model::Users(stages));
    }
    if let Some(node) = load.get("thinkTime") {
        problems.report(
            &node.at,
            "`thinkTime` of the load belongs to users, and these stages have a `rate`",
            "allowed: `thinkTime` of a journey or of a request",
        );
    }
    let stages = many(node, "stages", rate_stage, problems);
    let spacing = match load.get("arrivals") {
        Some(node) => {
            let words = [
                ("constant", Spacing::Constant),
                ("poisson", Spacing::Poisson),
            ];
            problems.one_of(node, "kind of arrivals", &words, &[])
        }
        None => Some(Spacing::Constant),
    };
    let max_in_flight = load
        .get("maxInFlight")
        .map(|node| problems.whole(node, "maxInFlight", 1..=MOST_IN_FLIGHT));
    let stages = stages?;
    if stages.iter().all(|stage| stage.rate == 0.0) {
        problems.report(
            &node.at,
            "no stage has a rate above zero",
            "allowed: at least one stage that sends, such as {rate: 200/s, duration: 60s}",
        );
        return None;
    }
    let max_in_flight = match max_in_flight {
        Some(given) => given?,
        None => Arrivals::usual_max_in_flight(&stages, timeout),
    };
    Some(Model::Arrivals(Arrivals {
        stages,
        spacing: spacing?,
        max_in_flight,
    }))
}

/// The longest time between two requests that the stages leave.
pub(super) fn longest_pause(model: &Model) -> Duration {
    match model {
        Model::Users(stages) => longest_silence(
            stages
                .iter()
                .map(|stage| (stage.users == 0).then(|| stage.duration - stage.ramp)),
        ),
        Model::Arrivals(Arrivals { stages, .. }) => {
            let slowest = stages.iter().map(|stage| stage.rate);
            let slowest = slowest.filter(|rate| *rate > 0.0).fold(f64::MAX, f64::min);
            let silence = longest_silence(
                stages
                    .iter()
                    .map(|stage| (stage.rate == 0.0).then(|| stage.duration - stage.ramp)),
            );
            silence.max(Duration::from_secs_f64(1.0 / slowest))
        }
    }
}

/// The longest sum of silent stages in a row; `None` is a stage that sends.
fn longest_silence(stages: impl Iterator<Item = Option<Duration>>) -> Duration {
    let silences = stages.scan(Duration::ZERO, |silence, stage| {
        *silence = stage.map_or(Duration::ZERO, |stage| *silence + stage);
        Some(*silence)
    });
    silences.max().unwrap_or_default()
}

fn is_open(stages: &Node) -> bool {
    let Value::List(items) = &stages.value else {
        return false;
    };
    items
        .first()
        .is_some_and(|stage| stage.entry("rate").is_some())
}

fn stage(node: &Node, problems: &mut Problems) -> Option<Stage> {
    if node.entry("rate").is_some() {
        mixed(node, problems);
        return None;
    }
    let fields = problems.fields(node, "stage", &["users", "ramp", "duration"], &[])?;
    let users = fields
        .required("users", problems)
        .and_then(|node| problems.whole(node, "users", 0..=MOST_IN_FLIGHT));
    let (ramp, duration) = times(&fields, problems);
    Some(Stage {
        users: users?,
        ramp: ramp?,
        duration: duration?,
    })
}

fn rate_stage(node: &Node, problems: &mut Problems) -> Option<RateStage> {
    if node.entry("users").is_some() {
        mixed(node, problems);
        return None;
    }
    let fields = problems.fields(node, "stage", &["rate", "ramp", "duration"], &[])?;
    let rate = fields
        .required("rate", problems)
        .and_then(|node| problems.rate(node, "rate"));
    let (ramp, duration) = times(&fields, problems);
    Some(RateStage {
        rate: rate?,
        ramp: ramp?,
        duration: duration?,
    })
}

fn mixed(stage: &Node, problems: &mut Problems) {
    problems.report(
        &stage.at,
        "stages with `users` and stages with a `rate` are mixed",
        "allowed: all stages with `users` (closed model), or all with a `rate` (open model)",
    );
}

/// Ramp and duration; the ramp is part of the duration.
fn times(fields: &Fields<'_>, problems: &mut Problems) -> (Option<Duration>, Option<Duration>) {
    let duration = fields
        .required("duration", problems)
        .and_then(|node| problems.positive_duration(node, "duration"));
    let Some(node) = fields.get("ramp") else {
        return (Some(Duration::ZERO), duration);
    };
    let ramp = problems.duration(node, "ramp");
    if let (Some(ramp), Some(duration)) = (ramp, duration)
        && ramp > duration
    {
        problems.report(
            &node.at,
            "`ramp` is longer than its stage",
            format!("allowed: up to the stage's duration, {duration:?}"),
        );
        return (None, Some(duration));
    }
    (ramp, duration)
}
