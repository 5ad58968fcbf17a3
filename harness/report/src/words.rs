//! How numbers and names are worded, once for every format: the same figure reads the same in
//! the terminal, in Markdown and in HTML. What verdicts say as well is worded in the core.

use holdfast_core::outcome::Source;
use holdfast_core::verdict::Outcome;
pub(crate) use holdfast_core::words::{bounds, metric_value, objective, percent, rate, seconds};

/// What stands where nothing was measured.
pub(crate) const NOT_MEASURED: &str = "–";

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
        Source::Users => "load",
        Source::Prober => "prober",
    }
}

/// The verdict in one word.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "PASSED",
        Outcome::Measured => "MEASURED",
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
        Outcome::Passed => "The service held everything that was asked of it.",
        Outcome::Measured => "Nothing was asked of the service; these are its figures.",
        Outcome::Failed => "The service did not hold what was asked of it.",
        Outcome::Inconclusive => "This run does not say whether the service held.",
        Outcome::Aborted => "A stop condition or a halt ended the run early.",
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
    fn one_is_singular() {
        assert_eq!(counted(1, "request", "requests"), "1 request");
        assert_eq!(counted(0, "request", "requests"), "0 requests");
    }
}
