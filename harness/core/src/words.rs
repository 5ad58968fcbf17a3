//! How measured values and objectives are worded: the same figure reads the same in a verdict's
//! reasons and in every report.

use crate::experiment::{Metric, Objective, Unit};

/// A percentage. One failure in a hundred thousand must not read as 100.00 %.
#[must_use]
pub fn percent(value: f64) -> String {
    if (99.995..100.0).contains(&value) {
        format!("{value:.5} %")
    } else {
        format!("{value:.2} %")
    }
}

/// A time in seconds, in the unit that reads best.
#[must_use]
pub fn seconds(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 {
        format!("{value:.1} s")
    } else if magnitude >= 0.9995 {
        format!("{value:.2} s")
    } else if magnitude >= 0.00995 {
        format!("{:.0} ms", value * 1e3)
    } else if magnitude > 0.0 {
        format!("{:.2} ms", value * 1e3)
    } else {
        "0 s".to_owned()
    }
}

/// A rate.
#[must_use]
pub fn rate(value: f64) -> String {
    format!("{value:.2}/s")
}

/// A metric's value in its own unit.
#[must_use]
pub fn metric_value(metric: Metric, value: f64) -> String {
    match metric.unit() {
        Unit::Percent => percent(value),
        Unit::Seconds => seconds(value),
        Unit::PerSecond => rate(value),
    }
}

/// What an objective measures, and in which windows: `availability in fault + recovery`.
#[must_use]
pub fn objective(objective: &Objective) -> String {
    let metric = objective.metric.name();
    let phases: Vec<&str> = objective.during.iter().map(|phase| phase.name()).collect();
    if phases.is_empty() {
        metric.to_owned()
    } else {
        format!("{metric} in {}", phases.join(" + "))
    }
}

/// What an objective asks: `≥ 99.90 %`.
#[must_use]
pub fn bounds(objective: &Objective) -> String {
    let worded = |sign: &str, bound: Option<f64>| {
        bound.map(|value| format!("{sign} {}", metric_value(objective.metric, value)))
    };
    let bounds = [worded("≥", objective.min), worded("≤", objective.max)];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    bounds.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_all_never_reads_as_all() {
        assert_eq!(percent(63.546), "63.55 %");
        assert_eq!(percent(100.0), "100.00 %");
        assert_eq!(percent(99.999_6), "99.99960 %");
        assert_eq!(percent(0.0), "0.00 %");
    }

    #[test]
    fn times_take_the_unit_that_reads_best() {
        let worded: Vec<String> = [0.0, 0.000_25, 0.009_99, 0.0123, 0.9999, 5.6, 125.04]
            .map(seconds)
            .to_vec();
        let expected = [
            "0 s", "0.25 ms", "10 ms", "12 ms", "1.00 s", "5.60 s", "125.0 s",
        ];
        assert_eq!(worded, expected);
    }
}
