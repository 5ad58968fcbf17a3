//! Sets of fields, and the notation `FieldsV1` which `managedFields` has for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// In the notation, the thing itself next to what is inside it.
const ITSELF: &str = ".";

/// One step into an object, as the notation writes it: `f:<field>`, `k:<keys of
/// an element>` or `v:<element of a set>`.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub(crate) struct Step(String);

impl Step {
    pub(crate) fn field(name: &str) -> Self {
        Self(format!("f:{name}"))
    }

    /// The element of a list which has these keys.
    pub(crate) fn keys(keys: &BTreeMap<&str, &Value>) -> Self {
        let text = serde_json::to_string(keys).unwrap_or_default();
        Self(format!("k:{text}"))
    }

    /// An element of a set.
    pub(crate) fn value(value: &Value) -> Self {
        Self(format!("v:{value}"))
    }

    /// Reads the notation; nothing for what is no step.
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(2)?;
        match kind {
            "f:" => Some(Self(text.to_owned())),
            "k:" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
                let keys = keys.iter().map(|(key, value)| (key.as_str(), value));
                Some(Self::keys(&keys.collect()))
            }
            "v:" => serde_json::from_str(rest)
                .ok()
                .map(|value: Value| Self::value(&value)),
            _ => None,
        }
    }

    /// The field's name; nothing for an element.
    pub(crate) fn field_name(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }

    /// As paths in messages show it: `.image`, `[name="main"]`, `[="x"]`.
    pub(crate) fn write_to(&self, path: &mut String) {
        let (kind, rest) = self.0.split_at_checked(2).unwrap_or_default();
        let written = match kind {
            "f:" => write!(path, ".{rest}"),
            "k:" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(rest).unwrap_or_default();
                let keys: Vec<_> = keys.iter().map(|(key, of)| format!("{key}={of}")).collect();
                write!(path, "[{}]", keys.join(","))
            }
            _ => write!(path, "[={rest}]"),
        };
        debug_assert!(written.is_ok(), "a string takes everything");
    }
}

/// A set of places in an object. A place may be in it without what is inside.
#[derive(Clone, Eq, PartialEq, Default, Debug)]
pub(crate) struct FieldSet {
    /// Whether the place at which this set begins is in it.
    pub(crate) itself: bool,
    /// What is inside; never an empty set.
    inside: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    /// The place alone.
    pub(crate) fn only_itself() -> Self {
        Self {
            itself: true,
            ..Self::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.itself && self.inside.is_empty()
    }

    /// Adds a set which begins one step inside.
    pub(crate) fn put(&mut self, step: Step, set: Self) {
        if !set.is_empty() {
            self.inside.entry(step).or_default().add(set);
        }
    }

    /// The part that begins one step inside.
    pub(crate) fn at(&self, step: &Step) -> Option<&Self> {
        self.inside.get(step)
    }

    /// Takes out everything at and inside a path of fields.
    pub(crate) fn take_fields(&mut self, path: &[&str]) -> Self {
        let Some((first, rest)) = path.split_first() else {
            return std::mem::take(self);
        };
        let step = Step::field(first);
        let Some(inner) = self.inside.get_mut(&step) else {
            return Self::default();
        };
        let taken = inner.take_fields(rest);
        if inner.is_empty() {
            self.inside.remove(&step);
        }
        taken
    }

    /// Takes out one field, but not what is inside it.
    pub(crate) fn drop_itself(&mut self, field: &str) {
        let step = Step::field(field);
        if let Some(inner) = self.inside.get_mut(&step) {
            inner.itself = false;
            if inner.is_empty() {
                self.inside.remove(&step);
            }
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.itself |= other.itself;
        for (step, set) in other.inside {
            self.put(step, set);
        }
    }

    #[must_use]
    pub(crate) fn union(mut self, other: &Self) -> Self {
        self.add(other.clone());
        self
    }

    /// What is in this set and not in the other.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let inside = self.inside.iter().map(|(step, set)| {
            let rest = match other.at(step) {
                Some(other) => set.difference(other),
                None => set.clone(),
            };
            (step.clone(), rest)
        });
        Self {
            itself: self.itself && !other.itself,
            inside: inside.filter(|(_, set)| !set.is_empty()).collect(),
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let inside = self
            .inside
            .iter()
            .filter_map(|(step, set)| Some((step.clone(), set.intersection(other.at(step)?))));
        Self {
            itself: self.itself && other.itself,
            inside: inside.filter(|(_, set)| !set.is_empty()).collect(),
        }
    }

    /// This set with every field on the way to a place of it. (The elements of
    /// lists on the way are in it only when they were.)
    pub(crate) fn with_fields_on_the_way(&self) -> Self {
        let inside = self.inside.iter().map(|(step, set)| {
            let mut set = set.with_fields_on_the_way();
            set.itself |= step.field_name().is_some();
            (step.clone(), set)
        });
        Self {
            itself: self.itself,
            inside: inside.collect(),
        }
    }

    /// Every place as a path: `.spec.containers[name="main"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(&mut String::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, path: &mut String, paths: &mut Vec<String>) {
        if self.itself {
            paths.push(path.clone());
        }
        for (step, set) in &self.inside {
            let length = path.len();
            step.write_to(path);
            set.collect_paths(path, paths);
            path.truncate(length);
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut json: Map<String, Value> = self
            .inside
            .iter()
            .map(|(step, set)| (step.0.clone(), set.to_json()))
            .collect();
        if self.itself && !json.is_empty() {
            json.insert(ITSELF.to_owned(), Value::Object(Map::new()));
        }
        Value::Object(json)
    }

    /// Reads the notation; nothing when it is none. The root is never in a set.
    pub(crate) fn from_json(json: &Value) -> Option<Self> {
        let mut set = Self::read(json)?;
        set.itself = false;
        Some(set)
    }

    fn read(json: &Value) -> Option<Self> {
        let entries = json.as_object()?;
        let mut set = Self {
            itself: entries.is_empty() || entries.contains_key(ITSELF),
            ..Self::default()
        };
        for (step, inside) in entries.iter().filter(|(step, _)| *step != ITSELF) {
            set.put(Step::parse(step)?, Self::read(inside)?);
        }
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(json: &Value) -> FieldSet {
        FieldSet::from_json(json).unwrap()
    }

    #[test]
    fn the_notation_is_read_and_written() {
        let json = json!({
            "f:metadata": {"f:finalizers": {".": {}, "v:\"x\"": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}},
        });
        assert_eq!(set(&json).to_json(), json);
        let paths = set(&json).paths();
        assert_eq!(
            paths,
            [
                ".metadata.finalizers",
                ".metadata.finalizers[=\"x\"]",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].name",
            ]
        );
        let spaced = json!({"f:p": {"k:{\"b\": 1, \"a\": 2}": {}}});
        assert_eq!(
            set(&spaced),
            set(&json!({"f:p": {"k:{\"a\":2,\"b\":1}": {}}}))
        );
        assert_eq!(FieldSet::from_json(&json!({"x:y": {}})), None);
        assert_eq!(FieldSet::from_json(&json!([])), None);
    }

    #[test]
    fn a_place_and_what_is_inside_are_told_apart() {
        let whole = set(&json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}}));
        let place = set(&json!({"f:a": {}}));
        assert_eq!(
            whole.difference(&place),
            set(&json!({"f:a": {"f:b": {}, "f:c": {}}}))
        );
        assert_eq!(whole.intersection(&place), place);
        let inside = set(&json!({"f:a": {"f:b": {}}}));
        assert_eq!(
            inside.with_fields_on_the_way(),
            set(&json!({"f:a": {".": {}, "f:b": {}}}))
        );
        assert_eq!(
            place.union(&inside),
            set(&json!({"f:a": {".": {}, "f:b": {}}}))
        );
        assert!(inside.difference(&inside).is_empty());
    }

    #[test]
    fn a_part_is_taken_out() {
        let mut both = set(&json!({"f:a": {"f:b": {}}, "f:c": {}}));
        assert_eq!(both.take_fields(&["a", "b"]), FieldSet::only_itself());
        assert_eq!(both, set(&json!({"f:c": {}})));
    }
}
