//! Reads typed values out of the tree and collects what is wrong with them. A reader that gives
//! `None` has reported why, so callers go on to the next field and every mistake is found.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::SourceFile;
use super::diagnostic::{SpecError, SpecErrors};
use super::tree::{Key, Node, Value};
use crate::duration;

mod fields;
mod names;

pub(super) use fields::Fields;

/// The longest duration of a file: longer than any run, and far from what a sum of durations could overflow.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Requests per second: from one in a quarter of an hour to more than any network carries.
pub const RATES: RangeInclusive<f64> = 0.001..=100_000.0;

pub(super) const RATE_FORM: &str =
    "allowed: a number per second, 0/s or 0.001/s to 100000/s, such as 25/s";

pub(super) const DURATION_FORM: &str =
    "allowed: a number and one of us, ms, s, m, h, such as 30s or 610ms, up to 24h";

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
}

#[derive(Debug)]
struct Problem {
    at: Option<Range<usize>>,
    message: String,
    allowed: String,
}

impl Problems {
    /// Notes a mistake at a place of the file.
    pub(super) fn report(
        &mut self,
        at: &Range<usize>,
        message: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.found.push(Problem {
            at: Some(at.clone()),
            message: message.into(),
            allowed: allowed.into(),
        });
    }

    /// Notes a mistake that is not in the file.
    pub(super) fn report_command_line(&mut self, message: String, allowed: String) {
        self.found.push(Problem {
            at: None,
            message,
            allowed,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Everything found, in the order of the file.
    pub(super) fn into_errors(mut self, source: &SourceFile<'_>) -> SpecErrors {
        self.found.sort_by_key(|problem| {
            let at = problem.at.as_ref();
            (at.is_some(), at.map_or(0, |bytes| bytes.start))
        });
        let errors = self.found.into_iter().map(|problem| {
            SpecError::new(
                source.name,
                source.text,
                problem.at.as_ref(),
                problem.message,
                problem.allowed,
            )
        });
        SpecErrors {
            errors: errors.collect(),
        }
    }

    /// A map whose fields are among `known`. `later` are fields of the format that this version
    /// does not carry out yet.
    pub(super) fn fields<'tree>(
        &mut self,
        node: &'tree Node,
        what: &'static str,
        known: &[&str],
        later: &[&str],
    ) -> Option<Fields<'tree>> {
        if matches!(node.value, Value::Broken) {
            return None;
        }
        let Value::Map(entries) = &node.value else {
            self.report(
                &node.at,
                format!("`{what}` must be a map"),
                format!("allowed: a map of {}", quoted(known)),
            );
            return None;
        };
        let mut has_unknown = false;
        for (key, _) in entries {
            let name = key.text.as_str();
            has_unknown |= !known.contains(&name);
            if later.contains(&name) {
                self.report(
                    &key.at,
                    format!("`{name}` in `{what}` is not supported by this version"),
                    format!("allowed: {}", quoted(known)),
                );
            } else if !known.contains(&name) {
                self.report(
                    &key.at,
                    format!("unknown field `{name}` in `{what}`"),
                    nearest(name, known.iter().copied()),
                );
            }
        }
        Some(Fields {
            at: node.at.clone(),
            what,
            known: quoted(known),
            has_unknown,
            entries,
        })
    }

    /// The entries of a map with free names; none when it is no map.
    pub(super) fn entries<'tree>(&mut self, node: &'tree Node, what: &str) -> &'tree [(Key, Node)] {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Broken => &[],
            Value::Scalar(_) | Value::List(_) => {
                self.report(
                    &node.at,
                    format!("`{what}` must be a map"),
                    "allowed: a map of names to values",
                );
                &[]
            }
        }
    }

    /// The items of a list.
    pub(super) fn list<'tree>(&mut self, node: &'tree Node, what: &str) -> Option<&'tree [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            Value::Broken => None,
            Value::Scalar(_) | Value::Map(_) => {
                self.report(
                    &node.at,
                    format!("`{what}` must be a list"),
                    "allowed: a list, such as [first, second]",
                );
                None
            }
        }
    }

    /// The items of a list with at least one.
    pub(super) fn nonempty_list<'tree>(
        &mut self,
        node: &'tree Node,
        what: &str,
    ) -> Option<&'tree [Node]> {
        let items = self.list(node, what)?;
        if items.is_empty() {
            self.report(
                &node.at,
                format!("`{what}` is empty"),
                "allowed: a list of at least one",
            );
            return None;
        }
        Some(items)
    }

    /// Text, quoted or not, never empty.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.value {
            Value::Broken => None,
            Value::Scalar(scalar) if !node.is_null() && !scalar.text.is_empty() => {
                Some(scalar.text.clone())
            }
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
                self.report(
                    &node.at,
                    format!("`{what}` must be a single value"),
                    "allowed: text, quoted or not",
                );
                None
            }
        }
    }

    /// A switch that is on where it is written.
    pub(super) fn switched_on(&mut self, node: &Node, what: &str) -> Option<bool> {
        if matches!(node.value, Value::Broken) {
            return None;
        }
        let on = matches!(&node.value, Value::Scalar(scalar)
            if (scalar.plain || scalar.substituted) && scalar.text == "true");
        if !on {
            self.report(
                &node.at,
                format!("`{what}` can only be switched on"),
                format!("allowed: true, or no `{what}`"),
            );
        }
        on.then_some(true)
    }

    /// One of a closed list of words.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        words: &[(&str, T)],
        later: &[&str],
    ) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        if later.contains(&text.as_str()) {
            self.report(
                &node.at,
                format!("the {what} `{text}` is not supported by this version"),
                format!("allowed: {}", quoted(&known)),
            );
        } else {
            self.report(
                &node.at,
                format!("unknown {what} `{text}`"),
                nearest(&text, known.iter().copied()),
            );
        }
        None
    }

    /// A whole number within `range`.
    pub(super) fn whole<T>(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<T>,
    ) -> Option<T>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let allowed = format!(
            "allowed: a whole number, {} to {}",
            range.start(),
            range.end()
        );
        let text = self.number_text(node, what, &allowed)?;
        match text.parse::<T>() {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                self.report(&node.at, format!("`{what}` cannot be {text}"), allowed);
                None
            }
        }
    }

    /// A number within `range`.
    pub(super) fn number(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let allowed = match (*range.start(), *range.end()) {
            (f64::MIN, f64::MAX) => "allowed: a number".to_owned(),
            (start, f64::MAX) => format!("allowed: a number of at least {start}"),
            (start, end) => format!("allowed: a number, {start} to {end}"),
        };
        let text = self.number_text(node, what, &allowed)?;
        match text.parse::<f64>() {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                self.report(&node.at, format!("`{what}` cannot be {text}"), allowed);
                None
            }
        }
    }

    /// A percentage.
    pub(super) fn percent(&mut self, node: &Node, what: &str) -> Option<f64> {
        self.number(node, what, 0.0..=100.0)
    }

    /// The text of a scalar that stands for a number: not quoted, unless by a parameter.
    fn number_text(&mut self, node: &Node, what: &str, allowed: &str) -> Option<String> {
        match &node.value {
            Value::Broken => None,
            Value::Scalar(scalar) if scalar.plain || scalar.substituted => {
                Some(scalar.text.clone())
            }
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
                self.report(
                    &node.at,
                    format!("`{what}` must be a number without quotes"),
                    allowed,
                );
                None
            }
        }
    }

    /// A duration, zero included.
    pub(super) fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let text = self.text(node, what)?;
        match duration::parse(&text) {
            Some(value) if value <= LONGEST => Some(value),
            Some(_) => {
                self.report(
                    &node.at,
                    format!("`{what}` is too long: {text}"),
                    DURATION_FORM,
                );
                None
            }
            None if text.trim_start().starts_with('-') => {
                self.report(
                    &node.at,
                    format!("`{what}` must not be negative: {text}"),
                    DURATION_FORM,
                );
                None
            }
            None => {
                self.report(
                    &node.at,
                    format!("`{what}` is not a duration: `{text}`"),
                    DURATION_FORM,
                );
                None
            }
        }
    }

    /// A duration above zero.
    pub(super) fn positive_duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let value = self.duration(node, what)?;
        if value.is_zero() {
            self.report(
                &node.at,
                format!("`{what}` must be longer than zero"),
                DURATION_FORM,
            );
            return None;
        }
        Some(value)
    }

    /// A rate per second, zero included.
    pub(super) fn rate(&mut self, node: &Node, what: &str) -> Option<f64> {
        let text = self.text(node, what)?;
        let number = text.trim().strip_suffix("/s").map(str::parse::<f64>);
        let message = match number {
            Some(Ok(rate)) if rate == 0.0 || RATES.contains(&rate) => return Some(rate),
            Some(Ok(_)) => format!("`{what}` cannot be {text}"),
            Some(Err(_)) | None => format!("`{what}` is not a rate: `{text}`"),
        };
        self.report(&node.at, message, RATE_FORM);
        None
    }
}

/// The words in backticks, joined by commas.
pub(super) fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// All allowed words, and the one that was probably meant.
pub(super) fn nearest<'a>(word: &str, allowed: impl Iterator<Item = &'a str>) -> String {
    let allowed: Vec<&str> = allowed.collect();
    let meant = allowed
        .iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), *known))
        .filter(|(distance, known)| *distance < known.len() && *distance <= known.len() / 3 + 1)
        .min();
    match meant {
        Some((_, meant)) => format!("did you mean `{meant}`? allowed: {}", quoted(&allowed)),
        None => format!("allowed: {}", quoted(&allowed)),
    }
}
