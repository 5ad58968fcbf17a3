//! One objective against what was measured, and the line that says so.

use super::Judged;
use crate::experiment::{Metric, Objective, Phase};
use crate::outcome::Source;
use crate::record::Record;
use crate::summary::{Cuts, Measured, Summary, measure};
use crate::words;

/// A metric's value and what it rests on.
struct Value {
    measured: Option<f64>,
    requests: u64,
    interval: Option<(f64, f64)>,
    /// There is no value because service never came back.
    never: bool,
}

pub(super) fn judge(objective: &Objective, record: &Record, summary: &Summary) -> Judged {
    let value = value(objective, record, summary);
    let met = if value.requests < objective.min_requests {
        None
    } else if value.never {
        Some(false)
    } else {
        value.measured.map(|measured| within(objective, measured))
    };
    Judged {
        objective: objective.clone(),
        measured: value.measured,
        requests: value.requests,
        met,
        text: text(objective, &value),
    }
}

fn within(objective: &Objective, measured: f64) -> bool {
    objective.min.is_none_or(|min| measured >= min)
        && objective.max.is_none_or(|max| measured <= max)
}

fn value(objective: &Objective, record: &Record, summary: &Summary) -> Value {
    let cuts = Cuts::observe(record);
    let during: &[Phase] = if objective.during.is_empty() {
        &Phase::ALL
    } else {
        &objective.during
    };
    let of = |source| measure(record, &cuts, during, source);
    match objective.metric {
        Metric::Availability => availability(&of(Source::Users)),
        Metric::ProberAvailability => availability(&of(Source::Prober)),
        Metric::SiegeAvailability => {
            let attempts = summary.siege.transactions + summary.siege.failed;
            Value {
                measured: (attempts > 0).then_some(summary.siege.availability),
                requests: attempts,
                interval: None,
                never: false,
            }
        }
        Metric::P50 => plain(&of(Source::Users), |measured| measured.latency_expected.p50),
        Metric::P95 => plain(&of(Source::Users), |measured| measured.latency_expected.p95),
        Metric::P99 => plain(&of(Source::Users), |measured| measured.latency_expected.p99),
        Metric::Goodput => plain(&of(Source::Users), |measured| measured.goodput),
        Metric::RecoveryTime => {
            let after_fault = [Phase::Recovery, Phase::After];
            let requests = [Source::Users, Source::Prober]
                .map(|source| measure(record, &cuts, &after_fault, source).requests);
            Value {
                measured: summary.recovery_time,
                requests: requests.into_iter().sum(),
                interval: None,
                never: summary.recovered == Some(false),
            }
        }
    }
}

fn availability(measured: &Measured) -> Value {
    Value {
        interval: measured.availability_interval,
        ..plain(measured, |measured| measured.availability)
    }
}

fn plain(measured: &Measured, figure: fn(&Measured) -> Option<f64>) -> Value {
    Value {
        measured: figure(measured),
        requests: measured.requests,
        interval: None,
        never: false,
    }
}

/// `availability in fault: 63.55 % (95 % interval 61.17 to 65.87, n = 1613), asked: ≥ 99.90 %`
fn text(objective: &Objective, value: &Value) -> String {
    let found = match value.measured {
        Some(measured) => words::metric_value(objective.metric, measured),
        None if value.never => "did not recover".to_owned(),
        None => "not measured".to_owned(),
    };
    let interval = match value.interval {
        Some((low, high)) => format!("95 % interval {low:.2} to {high:.2}, "),
        None => String::new(),
    };
    let too_few = if value.requests < objective.min_requests {
        format!(", from at least {} requests", objective.min_requests)
    } else {
        String::new()
    };
    format!(
        "{}: {found} ({interval}n = {}), asked: {}{too_few}",
        words::objective(objective),
        value.requests,
        words::bounds(objective),
    )
}
