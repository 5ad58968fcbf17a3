//! Label selectors: which objects a request or a controller means.

pub(crate) mod field;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

type Labels = BTreeMap<String, String>;

/// A conjunction of requirements; the empty one matches everything.
#[derive(Clone, Eq, PartialEq, Default, Debug)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Clone, Eq, PartialEq, Debug)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Eq, PartialEq, Debug)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Debug, thiserror::Error)]
#[error("unable to parse requirement: {requirement:?} is no label selector requirement")]
pub(crate) struct SelectorError {
    requirement: String,
}

impl Selector {
    /// Parses the form used in requests: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub(crate) fn parse(text: &str) -> Result<Self, SelectorError> {
        let requirements = split_outside_parentheses(text).into_iter().map(str::trim);
        requirements
            .filter(|requirement| !requirement.is_empty())
            .map(parse_requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Selects the objects which carry all these labels.
    pub(crate) fn of_labels(labels: &Labels) -> Self {
        Self(
            labels
                .iter()
                .map(|(key, value)| equals(key, value))
                .collect(),
        )
    }

    /// The selector of a workload. `None` if an operator is unknown.
    pub(crate) fn of_label_selector(selector: &LabelSelector) -> Option<Self> {
        let Self(mut requirements) =
            Self::of_labels(&selector.match_labels.clone().unwrap_or_default());
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.clone().unwrap_or_default();
            let operator = match expression.operator.as_str() {
                "In" => Operator::In(values),
                "NotIn" => Operator::NotIn(values),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => return None,
            };
            requirements.push(Requirement {
                key: expression.key.clone(),
                operator,
            });
        }
        Some(Self(requirements))
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }

    /// The labels which everything selected carries.
    pub(crate) fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(
            |requirement| match (&requirement.operator, &requirement.key) {
                (Operator::In(values), key) => match values.as_slice() {
                    [value] => Some((key.as_str(), value.as_str())),
                    _ => None,
                },
                _ => None,
            },
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Operator::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, Requirement { key, operator }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match operator {
                Operator::In(values) => match values.as_slice() {
                    [value] => write!(f, "{key}={value}"),
                    values => write!(f, "{key} in ({})", values.join(",")),
                },
                Operator::NotIn(values) => match values.as_slice() {
                    [value] => write!(f, "{key}!={value}"),
                    values => write!(f, "{key} notin ({})", values.join(",")),
                },
                Operator::Exists => f.write_str(key),
                Operator::DoesNotExist => write!(f, "!{key}"),
                Operator::GreaterThan(bound) => write!(f, "{key}>{bound}"),
                Operator::LessThan(bound) => write!(f, "{key}<{bound}"),
            }?;
        }
        Ok(())
    }
}

fn equals(key: &str, value: &str) -> Requirement {
    Requirement {
        key: key.to_owned(),
        operator: Operator::In(vec![value.to_owned()]),
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .collect()
}

fn parse_requirement(text: &str) -> Result<Requirement, SelectorError> {
    let error = || SelectorError {
        requirement: text.to_owned(),
    };
    let (key, operator) = split_requirement(text).ok_or_else(error)?;
    let key = key.trim();
    let is_key_character = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(is_key_character) {
        return Err(error());
    }
    if let Operator::In(values) | Operator::NotIn(values) = &operator
        && !values.iter().all(|value| is_label_value(value))
    {
        return Err(error());
    }
    Ok(Requirement {
        key: key.to_owned(),
        operator,
    })
}

/// Whether a label can have this value: nothing, or 63 characters at most of letters, digits, `-`,
/// `_` and `.`, with a letter or a digit at both ends.
fn is_label_value(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    let is_inside = |c: char| is_end(c) || "-_.".contains(c);
    text.len() <= 63
        && text.chars().all(is_inside)
        && text.chars().next().is_none_or(is_end)
        && text.chars().next_back().is_none_or(is_end)
}

fn split_requirement(text: &str) -> Option<(&str, Operator)> {
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some(key) = text.strip_prefix('!') {
        return Some((key, Operator::DoesNotExist));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Some((key, Operator::NotIn(one(value))));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some((key, Operator::In(one(value))));
    }
    if let Some((key, value)) = text.split_once('>') {
        return Some((key, Operator::GreaterThan(value.trim().parse().ok()?)));
    }
    if let Some((key, value)) = text.split_once('<') {
        return Some((key, Operator::LessThan(value.trim().parse().ok()?)));
    }
    let Some((key, rest)) = text.split_once(char::is_whitespace) else {
        return Some((text, Operator::Exists));
    };
    let (word, values) = rest.split_once('(')?;
    let values = values.trim_end().strip_suffix(')')?;
    let values = values
        .split(',')
        .map(|value| value.trim().to_owned())
        .collect();
    match word.trim() {
        "in" => Some((key, Operator::In(values))),
        "notin" => Some((key, Operator::NotIn(values))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Selector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn every_operator_selects() {
        let labels = [("app", "pay"), ("tier", "2")];
        for selector in [
            "",
            "app=pay",
            "app==pay",
            "app!=app",
            "app in (pay, app)",
            "app notin (x),tier=2",
            "app",
            "!other",
            "other!=x",
            "other notin (x)",
            "tier>1",
            "tier<3",
            " app = pay ",
        ] {
            assert!(matches(selector, &labels), "{selector}");
        }
        for selector in [
            "app=app",
            "app!=pay",
            "app in (x)",
            "app notin (pay)",
            "other",
            "!app",
            "tier>2",
        ] {
            assert!(!matches(selector, &labels), "{selector}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for selector in [
            "app in pay",
            "app in (pay",
            "a b c",
            "=x",
            "tier>x",
            "a=(b",
            "a==b=c",
            "a=b c",
            "a in (b c)",
            "a=-x",
            "a=x.",
            &format!("a={}", "x".repeat(64)),
        ] {
            assert!(Selector::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn a_selector_is_written_as_it_is_parsed() {
        let text = "a=b,c!=d,e in (f,g),h notin (i,j),k,!l";
        assert_eq!(Selector::parse(text).unwrap().to_string(), text);
    }

    proptest! {
        /// What is understood is understood the same when it is written again.
        #[test]
        fn whatever_is_parsed_is_written_as_it_is_meant(
            text in r"([a-c./!=<>(), 0-9-]|in|notin){0,30}",
            labels in proptest::collection::btree_map("[a-c]", "[a-c0-9]{0,2}", 0..4),
        ) {
            if let Ok(selector) = Selector::parse(&text) {
                let again = Selector::parse(&selector.to_string());
                prop_assert!(again.is_ok(), "{selector}");
                prop_assert_eq!(again.unwrap().matches(&labels), selector.matches(&labels));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            drop(Selector::parse(&text));
            drop(field::FieldSelector::parse(&crate::store::Resource::Pods, &text));
        }
    }
}
