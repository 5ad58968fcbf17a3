//! Which fields an object has, and which differ between two versions of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::place::{Place, Shape, step_of};
use super::set::{FieldSet, Step};
use crate::store::Resource;

/// What became of the fields of an object.
#[derive(Clone, Eq, PartialEq, Default, Debug)]
pub(crate) struct Changes {
    pub(crate) added: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) removed: FieldSet,
}

impl Changes {
    fn put(&mut self, step: Step, changes: Self) {
        self.added.put(step.clone(), changes.added);
        self.modified.put(step.clone(), changes.modified);
        self.removed.put(step, changes.removed);
    }

    /// Everything that has another value than before.
    pub(crate) fn set(&self) -> FieldSet {
        self.added.clone().union(&self.modified)
    }
}

/// What is found at one step. A list that should have no element twice may
/// have it twice all the same.
#[derive(Default)]
struct Part<'v> {
    values: Vec<&'v Value>,
}

/// Compares two versions of an object.
pub(crate) fn compare(root: Place<'_>, before: &Value, after: &Value) -> Changes {
    changes(root, Some(before), Some(after))
}

fn changes(place: Place<'_>, before: Option<&Value>, after: Option<&Value>) -> Changes {
    let mut changes = Changes::default();
    let shape = place.shape(before, after);
    // Between nothing and nothing there is still the difference of {} and null.
    if matches!(shape, Shape::Atomic) || (is_nothing(before) && is_nothing(after)) {
        changes.modified.itself = match (before, after) {
            (Some(before), Some(after)) => !is_same(before, after),
            _ => false,
        };
    } else {
        let mut before = parts(&shape, before);
        let mut after = parts(&shape, after);
        let steps: Vec<Step> = before.keys().chain(after.keys()).cloned().collect();
        for step in steps {
            let (before, after) = (before.remove(&step), after.remove(&step));
            if before.is_some() || after.is_some() {
                let inner = place.inside(&step);
                let found = part_changes(
                    inner,
                    &before.unwrap_or_default(),
                    &after.unwrap_or_default(),
                );
                changes.put(step, found);
            }
        }
    }
    changes.added.itself = before.is_none() && after.is_some();
    changes.removed.itself = before.is_some() && after.is_none();
    changes
}

/// Whether two values are the same, of numbers whether they count the same: `0` and `0.0` do.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() != other.is_f64() => {
            one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let found = |(name, one)| other.get(name).is_some_and(|other| is_same(one, other));
            one.len() == other.len() && one.iter().all(found)
        }
        (one, other) => one == other,
    }
}

fn part_changes(place: Place<'_>, before: &Part<'_>, after: &Part<'_>) -> Changes {
    match (before.values.as_slice(), after.values.as_slice()) {
        ([], [after]) => changes(place, None, Some(after)),
        ([before], []) => changes(place, Some(before), None),
        ([before], [after]) => changes(place, Some(before), Some(after)),
        (before, after) => {
            let mut changes = Changes::default();
            changes.modified.itself = before != after;
            changes
        }
    }
}

/// The fields which an object sets.
pub(crate) fn fields_of(root: Place<'_>, object: &Value) -> FieldSet {
    let mut fields = fields_at(root, object);
    fields.itself = false;
    fields
}

fn fields_at(place: Place<'_>, value: &Value) -> FieldSet {
    let shape = place.shape(Some(value), None);
    if matches!(shape, Shape::Atomic) || value.as_object().is_some_and(serde_json::Map::is_empty) {
        return FieldSet::only_itself();
    }
    let are_elements = value.is_array();
    let mut fields = FieldSet::default();
    for (step, part) in parts(&shape, Some(value)) {
        let inner = place.inside(&step);
        for value in part.values {
            let mut found = fields_at(inner, value);
            found.itself |= are_elements;
            fields.put(step.clone(), found);
        }
    }
    fields
}

/// What keeps the elements of a list in an applied object from being told
/// apart: keys which are there twice, or not at all.
pub(crate) fn malformed_list(resource: &Resource, object: &Value) -> Option<String> {
    malformed_at(Place::root(resource), object, &mut String::new())
}

fn malformed_at(place: Place<'_>, value: &Value, path: &mut String) -> Option<String> {
    let shape = place.shape(Some(value), None);
    if let Shape::List(keys) = &shape {
        let required = keys.iter().filter(|(_, default)| default.is_null());
        for (key, _) in required {
            let mut elements = value.as_array().into_iter().flatten();
            if elements.any(|element| element[key].is_null()) {
                return Some(format!(
                    "{path}: element of an associative list without its key {key:?}"
                ));
            }
        }
    }
    for (step, part) in parts(&shape, Some(value)) {
        if part.values.len() > 1 {
            let mut key = String::new();
            step.write_to(&mut key);
            return Some(format!("{path}: duplicate entries for key {key}"));
        }
        let length = path.len();
        step.write_to(path);
        let inner = place.inside(&step);
        let found = part
            .values
            .iter()
            .find_map(|value| malformed_at(inner, value, path));
        if found.is_some() {
            return found;
        }
        path.truncate(length);
    }
    None
}

fn is_nothing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => false,
    }
}

/// What is directly inside a value that is merged part by part.
fn parts<'v>(shape: &Shape, value: Option<&'v Value>) -> BTreeMap<Step, Part<'v>> {
    let mut parts: BTreeMap<Step, Part<'v>> = BTreeMap::new();
    let mut add = |step: Step, value: &'v Value| parts.entry(step).or_default().values.push(value);
    let elements = || value.and_then(Value::as_array).into_iter().flatten();
    match shape {
        Shape::Atomic => {}
        Shape::Map => {
            for (name, value) in value.and_then(Value::as_object).into_iter().flatten() {
                add(Step::field(name), value);
            }
        }
        Shape::List(keys) => elements().for_each(|element| add(step_of(element, keys), element)),
        Shape::Set => elements().for_each(|element| add(Step::value(element), element)),
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        let written = json!({"minimum": 0, "enum": [1, {"a": 2.5}]});
        let sent = json!({"minimum": 0.0, "enum": [1.0, {"a": 2.5}]});
        assert_eq!(compare(Place::ROOT, &written, &sent), Changes::default());
        for other in [json!(1), json!(0.5), json!("0"), json!(null)] {
            assert!(!is_same(&json!(0), &other), "{other}");
        }
        let (large, larger) = (json!(u64::MAX - 1), json!(u64::MAX));
        assert!(!is_same(&large, &larger));
    }
}
