//! One objective against what was measured, and the line that says so.

use super::Judged;
use crate::experiment::{Metric, Objective, Phase, Unit};
use crate::outcome::Source;
use crate::record::Record;
use crate::summary::{Cuts, Measured, Summary, measure};

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

/// `availability in fault: 63.55 % (95 % interval 61.17 to 65.87, n = 1613), asked: at least 99.9 %`
fn text(objective: &Objective, value: &Value) -> String {
    let unit = objective.metric.unit();
    let windows = if objective.during.is_empty() {
        String::new()
    } else {
        let names: Vec<&str> = objective.during.iter().map(|phase| phase.name()).collect();
        format!(" in {}", names.join(" + "))
    };
    let found = match value.measured {
        Some(measured) => in_unit(measured, unit),
        None if value.never => "did not recover".to_owned(),
        None => "not measured".to_owned(),
    };
    let interval = match value.interval {
        Some((low, high)) => format!("95 % interval {low:.2} to {high:.2}, "),
        None => String::new(),
    };
    let asked = match (objective.min, objective.max) {
        (Some(min), Some(max)) => format!("{min} to {max}{}", symbol(unit)),
        (Some(min), None) => format!("at least {min}{}", symbol(unit)),
        (None, Some(max)) => format!("at most {max}{}", symbol(unit)),
        (None, None) => "nothing".to_owned(),
    };
    let too_few = if value.requests < objective.min_requests {
        format!(", from at least {} requests", objective.min_requests)
    } else {
        String::new()
    };
    format!(
        "{}{windows}: {found} ({interval}n = {}), asked: {asked}{too_few}",
        objective.metric.name(),
        value.requests,
    )
}

fn in_unit(value: f64, unit: Unit) -> String {
    let symbol = symbol(unit);
    match unit {
        // One failure in a hundred thousand must not read as 100.00 %.
        Unit::Percent if (99.995..100.0).contains(&value) => format!("{value:.5}{symbol}"),
        Unit::Percent | Unit::PerSecond => format!("{value:.2}{symbol}"),
        Unit::Seconds => format!("{value:.3}{symbol}"),
    }
}

fn symbol(unit: Unit) -> &'static str {
    match unit {
        Unit::Percent => " %",
        Unit::Seconds => " s",
        Unit::PerSecond => "/s",
    }
}
