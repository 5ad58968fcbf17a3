//! What is agreed on the members of a JSON object, or on headers, which are one of texts.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::breach::Breach;

/// The members that matter, by their names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Members(BTreeMap<String, Member>);

/// One member. It is a text or an integer, as its example is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    example: Value,
    /// What the whole of a text must match.
    pattern: Option<String>,
    /// How long a text may be, in bytes.
    longest: Option<usize>,
    /// The smallest integer.
    from: Option<i64>,
    /// The largest integer.
    to: Option<i64>,
    /// It may be missing.
    #[serde(default)]
    optional: bool,
}

impl Members {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How `found` breaks what was agreed. What else it has is its own business.
    pub fn check(&self, found: &Map<String, Value>) -> Vec<Breach> {
        let breaches = self.0.iter().filter_map(|(name, member)| {
            let Some(value) = found.get(name) else {
                return (!member.optional).then(|| Breach::Missing(name.clone()));
            };
            let wanted = member.wanted();
            (!member.is_met_by(value)).then(|| Breach::wrong(name, wanted, value.clone()))
        });
        breaches.collect()
    }

    /// The same, if there may be nothing else.
    pub fn check_exactly(&self, found: &Map<String, Value>) -> Vec<Breach> {
        let unknown = found.keys().filter(|name| !self.0.contains_key(*name));
        let unknown = unknown.cloned().map(Breach::Unknown);
        self.check(found).into_iter().chain(unknown).collect()
    }

    /// What was agreed, in full.
    pub fn example(&self) -> Map<String, Value> {
        let members = self.0.iter();
        members
            .map(|(name, member)| (name.clone(), member.example.clone()))
            .collect()
    }

    /// What else is as good: without what may be missing, with more than was agreed, with the smallest
    /// and largest integers, and with the longest texts.
    pub fn examples(&self) -> Vec<Map<String, Value>> {
        let mut barest = self.example();
        barest.retain(|name, _| !self.0[name].optional);
        let mut richer = self.example();
        richer.insert("addedLater".to_owned(), "and unknown".into());
        let mut examples = vec![self.example(), barest, richer];
        for (name, member) in &self.0 {
            for value in member.values_at_limits() {
                examples.push(self.example_with(name, value));
            }
        }
        examples
    }

    /// Everything that is not as good any more because of a single difference, and that difference.
    pub fn broken(&self) -> Vec<(String, Map<String, Value>)> {
        let other_types = self.0.iter().map(|(name, member)| {
            let value = member.value_of_other_type();
            (format!("{name} is {value}"), self.example_with(name, value))
        });
        other_types.chain(self.broken_texts()).collect()
    }

    /// The same of headers, which have no other types.
    pub fn broken_texts(&self) -> Vec<(String, Map<String, Value>)> {
        let mut broken = Vec::new();
        for (name, member) in &self.0 {
            if !member.optional {
                let mut without = self.example();
                let value = without.remove(name).unwrap_or_default();
                broken.push((format!("{name} is missing"), without.clone()));
                without.insert(format!("{name}Renamed"), value);
                broken.push((format!("{name} is renamed"), without));
            }
            for value in member.values_beyond_limits() {
                broken.push((format!("{name} is {value}"), self.example_with(name, value)));
            }
        }
        broken
    }

    fn example_with(&self, name: &str, value: Value) -> Map<String, Value> {
        let mut example = self.example();
        example.insert(name.to_owned(), value);
        example
    }
}

impl Member {
    fn is_met_by(&self, value: &Value) -> bool {
        match (&self.example, value) {
            (Value::String(_), Value::String(text)) => self.matches(text),
            (Value::Number(_), Value::Number(number)) => number.as_i64().is_some_and(|number| {
                self.from.is_none_or(|from| from <= number) && self.to.is_none_or(|to| number <= to)
            }),
            _ => false,
        }
    }

    fn matches(&self, text: &str) -> bool {
        let is_short_enough = self.longest.is_none_or(|longest| text.len() <= longest);
        let pattern = self.pattern.as_ref().map(|pattern| {
            let whole = Regex::new(&format!("^(?:{pattern})$"));
            whole.unwrap_or_else(|error| panic!("{error}"))
        });
        is_short_enough && pattern.is_none_or(|pattern| pattern.is_match(text))
    }

    fn wanted(&self) -> String {
        let at_most = |longest| format!(" of at most {longest} bytes");
        let at_most = self.longest.map_or_else(String::new, at_most);
        match (&self.example, &self.pattern) {
            (Value::String(_), Some(pattern)) => format!("a text like {pattern}{at_most}"),
            (Value::String(_), None) => format!("a text{at_most}"),
            _ => match (self.from, self.to) {
                (Some(from), Some(to)) => format!("an integer from {from} to {to}"),
                (Some(from), None) => format!("an integer from {from}"),
                (None, Some(to)) => format!("an integer to {to}"),
                (None, None) => "an integer".to_owned(),
            },
        }
    }

    fn value_of_other_type(&self) -> Value {
        match &self.example {
            Value::String(_) => 7.into(),
            other => other.to_string().into(),
        }
    }

    fn values_at_limits(&self) -> Vec<Value> {
        let integers = [self.from, self.to].into_iter().flatten().map(Value::from);
        let longest = self.longest.map(|longest| self.text_of(longest));
        integers.chain(longest).collect()
    }

    /// The example, made longer.
    fn text_of(&self, bytes: usize) -> Value {
        let text = self.example.as_str().expect("only a text has a length");
        let more = "x".repeat(bytes.saturating_sub(text.len()));
        format!("{text}{more}").into()
    }

    fn values_beyond_limits(&self) -> Vec<Value> {
        let mut values = Vec::new();
        if let (Value::String(text), Some(_)) = (&self.example, &self.pattern) {
            let strange = [format!("{text}?"), String::new(), format!("{text}\0")];
            let unmatched = strange.into_iter().find(|text| !self.matches(text));
            values.push(
                unmatched
                    .expect("a pattern that matters is not met by any text")
                    .into(),
            );
        }
        values.extend(self.longest.map(|longest| self.text_of(longest + 1)));
        values.extend(self.from.map(|from| Value::from(from - 1)));
        values.extend(self.to.map(|to| Value::from(to + 1)));
        values
    }
}
