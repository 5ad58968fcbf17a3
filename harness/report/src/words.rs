//! How numbers and names are worded, once for every format: the same figure reads the same in
//! the terminal, in Markdown and in HTML.

use holdfast_core::experiment::{Metric, Unit};
use holdfast_core::outcome::Source;
use holdfast_core::verdict::Outcome;

/// What stands where nothing was measured.
pub(crate) const NOT_MEASURED: &str = "–";

/// A percentage. One failure in a hundred thousand must not read as 100.00 %.
pub(crate) fn percent(value: f64) -> String {
    if (99.995..100.0).contains(&value) {
        format!("{value:.5} %")
    } else {
        format!("{value:.2} %")
    }
}

/// A percentage, or the sign for nothing measured.
pub(crate) fn percent_or_none(value: Option<f64>) -> String {
    value.map_or_else(|| NOT_MEASURED.to_owned(), percent)
}

/// A 95 % interval of percentages, without their sign.
pub(crate) fn interval(value: Option<(f64, f64)>) -> String {
    value.map_or_else(
        || NOT_MEASURED.to_owned(),
        |(low, high)| format!("{low:.2} to {high:.2}"),
    )
}

/// A time in seconds, in the unit that reads best.
pub(crate) fn seconds(value: f64) -> String {
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

/// A time in seconds, or the sign for nothing measured.
pub(crate) fn seconds_or_none(value: Option<f64>) -> String {
    value.map_or_else(|| NOT_MEASURED.to_owned(), seconds)
}

/// A point on the run's time axis, in seconds since the start of the load.
pub(crate) fn moment(value: f64) -> String {
    format!("{value:.1} s")
}

/// A stretch of the run's time axis, in seconds since the start of the load.
pub(crate) fn span(start: f64, end: f64) -> String {
    let short = |value: f64| {
        let text = format!("{value:.1}");
        text.strip_suffix(".0").unwrap_or(&text).to_owned()
    };
    format!("{}–{} s", short(start), short(end))
}

/// A rate.
pub(crate) fn rate(value: f64) -> String {
    format!("{value:.2}/s")
}

/// A rate, or the sign for nothing measured.
pub(crate) fn rate_or_none(value: Option<f64>) -> String {
    value.map_or_else(|| NOT_MEASURED.to_owned(), rate)
}

/// A number with its noun, in the singular where it is one.
pub(crate) fn counted(count: u64, singular: &str, plural: &str) -> String {
    let noun = if count == 1 { singular } else { plural };
    format!("{count} {noun}")
}

/// A source's name.
pub(crate) fn source(source: Source) -> &'static str {
    match source {
        Source::Users => "users",
        Source::Prober => "prober",
    }
}

/// A metric's value in its own unit.
pub(crate) fn metric_value(metric: Metric, value: f64) -> String {
    match metric.unit() {
        Unit::Percent => percent(value),
        Unit::Seconds => seconds(value),
        Unit::PerSecond => rate(value),
    }
}

/// The verdict in one word.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "PASSED",
        Outcome::Failed => "FAILED",
        Outcome::Inconclusive => "INCONCLUSIVE",
        Outcome::Aborted => "ABORTED",
        Outcome::Interrupted => "INTERRUPTED",
        Outcome::Terminated => "TERMINATED",
        Outcome::NotReverted => "NOT REVERTED",
    }
}

/// The verdict in one sentence.
pub(crate) fn outcome_sentence(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "Every objective of the experiment was met.",
        Outcome::Failed => "The service did not hold: an objective was missed.",
        Outcome::Inconclusive => "This run says nothing either way.",
        Outcome::Aborted => "A stop condition ended the run early.",
        Outcome::Interrupted => "The run was interrupted before its plan was carried out.",
        Outcome::Terminated => "The run was terminated before its plan was carried out.",
        Outcome::NotReverted => "Something that was broken on purpose could not be put back.",
    }
}

/// Text on one line, for places where a line break would change the layout.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "request", "requests"), "1 request");
        assert_eq!(counted(0, "request", "requests"), "0 requests");
    }
}
