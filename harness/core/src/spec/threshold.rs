//! An objective in one line, in the manner of k6's thresholds: `p99{phase:fault}<=2s`.
//!
//! ```text
//! metric [ {phase:name,name…} ] >= | <=  value
//! ```

use super::checks::{Subject, unmeasured};
use super::problems::{DURATION_FORM, RATE_FORM, RATES, nearest};
use crate::duration;
use crate::experiment::{Experiment, Metric, Objective, Phase, Unit};

/// Why a text is no threshold, or none for an experiment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {allowed}")]
pub struct ThresholdError {
    message: String,
    /// What to write instead, beginning with `allowed: `.
    allowed: String,
}

impl ThresholdError {
    fn new(message: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            allowed: allowed.into(),
        }
    }
}

/// Reads an objective such as `availability>=99.9` or `p95{phase:fault,recovery}<=500ms`. Bounds
/// have the metric's unit: percent (with or without `%`), a time with its unit, a rate per second.
///
/// # Errors
/// The first mistake, with what is allowed in its place.
pub fn parse(text: &str) -> Result<Objective, ThresholdError> {
    let (left, bound, value) = split(text)?;
    let (name, phases) = match left.split_once('{') {
        None => (left, Vec::new()),
        Some((name, selector)) => (name.trim_end(), read_phases(selector)?),
    };
    let metric = one_of(name, "metric", Metric::ALL.map(|it| (it.name(), it)))?;
    let value = read_value(value, metric)?;
    let (min, max) = match bound {
        Bound::Least => (Some(value), None),
        Bound::Most => (None, Some(value)),
    };
    Ok(Objective {
        metric,
        during: phases,
        min,
        max,
        min_requests: 1,
    })
}

/// Adds a threshold to what an experiment asks.
///
/// # Errors
/// The experiment will not measure what the threshold asks about.
pub fn ask(experiment: &mut Experiment, threshold: Objective) -> Result<(), ThresholdError> {
    let subject = Subject {
        has_fault: !experiment.method.is_empty(),
        has_prober: experiment.load.prober.is_some(),
    };
    if let Some(reason) = unmeasured(&threshold, subject).into_iter().next() {
        return Err(ThresholdError::new(
            reason.message,
            format!("allowed: {}", reason.allowed.in_threshold),
        ));
    }
    experiment.objectives.push(threshold);
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    Least,
    Most,
}

const FORM: &str = "allowed: a metric, `>=` or `<=`, and a value, such as availability>=99.9 or \
                    p99{phase:fault}<=2s";

/// What is left of the operator, the operator, what is right of it.
fn split(text: &str) -> Result<(&str, Bound, &str), ThresholdError> {
    let no_operator = || ThresholdError::new(format!("no `>=` or `<=` in `{text}`"), FORM);
    let at = text.find(['<', '>', '=', '!']).ok_or_else(no_operator)?;
    let (left, rest) = text.split_at(at);
    let length = rest.find(|c| !"<>=!".contains(c)).unwrap_or(rest.len());
    let (operator, value) = rest.split_at(length);
    let bound = match operator {
        ">=" => Bound::Least,
        "<=" => Bound::Most,
        _ => {
            return Err(ThresholdError::new(
                format!("the operator cannot be `{operator}`: bounds are inclusive"),
                "allowed: `>=`, `<=`",
            ));
        }
    };
    Ok((left.trim(), bound, value.trim()))
}

/// The rest of `{phase:fault,recovery}` after its brace.
fn read_phases(selector: &str) -> Result<Vec<Phase>, ThresholdError> {
    let names = selector
        .strip_suffix('}')
        .and_then(|inner| inner.trim_start().strip_prefix("phase"))
        .and_then(|rest| rest.trim_start().strip_prefix(':'));
    let Some(names) = names else {
        return Err(ThresholdError::new(
            format!("`{{{selector}` selects no window"),
            "allowed: `{phase:fault}`, or several as in `{phase:fault,recovery}`",
        ));
    };
    let words = Phase::ALL.map(|phase| (phase.name(), phase));
    names
        .split(',')
        .map(|name| one_of(name.trim(), "window", words))
        .collect()
}

fn one_of<T: Copy, const N: usize>(
    word: &str,
    what: &str,
    known: [(&str, T); N],
) -> Result<T, ThresholdError> {
    let found = known.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names = known.iter().map(|(name, _)| *name);
        ThresholdError::new(
            format!("no {what} is called `{word}`"),
            nearest(word, names),
        )
    })
}

fn read_value(text: &str, metric: Metric) -> Result<f64, ThresholdError> {
    let (value, allowed) = match metric.unit() {
        Unit::Percent => {
            let number = text.strip_suffix('%').unwrap_or(text).trim_end();
            let value = plain_number(number).filter(|value| (0.0..=100.0).contains(value));
            (value, "allowed: a percentage, 0 to 100, such as 99.9")
        }
        Unit::Seconds => (
            duration::parse(text).map(|value| value.as_secs_f64()),
            DURATION_FORM,
        ),
        Unit::PerSecond => {
            let number = text.strip_suffix("/s").and_then(plain_number);
            let value = number.filter(|rate| *rate == 0.0 || RATES.contains(rate));
            (value, RATE_FORM)
        }
    };
    value.ok_or_else(|| {
        let message = format!("`{text}` is no value of `{}`", metric.name());
        ThresholdError::new(message, allowed)
    })
}

/// Digits with a point: Rust would also read `inf`, `nan` and `1e3`.
fn plain_number(text: &str) -> Option<f64> {
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|_| plain)
}
