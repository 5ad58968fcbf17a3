//! Putting an applied object over the live one, and taking fields out of it.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value};

use super::place::{Place, Shape, step_of};
use super::set::{FieldSet, Step};

/// Puts what is applied over what is there.
pub(crate) fn merge(place: Place<'_>, live: &mut Value, applied: &Value) {
    match (place.shape(Some(live), Some(applied)), live, applied) {
        (Shape::Map, live, Value::Object(applied)) => {
            if !live.is_object() {
                *live = Value::Object(Map::new());
            }
            let Value::Object(live) = live else { return };
            for (name, value) in applied {
                let present = live.entry(name.clone()).or_insert(Value::Null);
                merge(place.inside(&Step::field(name)), present, value);
            }
        }
        (Shape::List(keys), Value::Array(live), Value::Array(applied)) => {
            merge_lists(place, live, applied, |element| step_of(element, &keys));
        }
        (Shape::Set, Value::Array(live), Value::Array(applied)) => {
            merge_lists(place, live, applied, Step::value);
        }
        (_, live, applied) => *live = applied.clone(),
    }
}

/// The applied elements come in their order. The others stay where they are
/// among those which are in both.
fn merge_lists(
    place: Place<'_>,
    live: &mut Vec<Value>,
    applied: &[Value],
    step: impl Fn(&Value) -> Step,
) {
    let mut merged = Vec::with_capacity(live.len() + applied.len());
    let mut present: BTreeMap<Step, Value> = BTreeMap::new();
    let mut places = Vec::new();
    let is_applied = |wanted: &Step| applied.iter().any(|element| step(element) == *wanted);
    for element in live.drain(..) {
        let found = step(&element);
        if is_applied(&found) {
            // An element that is there twice is replaced by the applied one.
            if present.insert(found, element).is_none() {
                places.push(None);
            }
        } else {
            places.push(Some(element));
        }
    }
    let mut waiting: VecDeque<&Value> = applied.iter().collect();
    let mut next_until_shared = |merged: &mut Vec<Value>| {
        while let Some(element) = waiting.pop_front() {
            let found = step(element);
            match present.remove(&found) {
                Some(mut value) => {
                    merge(place.inside(&found), &mut value, element);
                    merged.push(value);
                    return true;
                }
                None => merged.push(element.clone()),
            }
        }
        false
    };
    for kept in places {
        match kept {
            Some(element) => merged.push(element),
            None => {
                next_until_shared(&mut merged);
            }
        }
    }
    while next_until_shared(&mut merged) {}
    *live = merged;
}

/// Takes the places of a set out of a value. With a place goes what is inside
/// it; a map of which nothing is left goes too.
pub(crate) fn remove(place: Place<'_>, value: &mut Value, fields: &FieldSet) {
    match (place.shape(Some(value), None), value) {
        (Shape::Map, Value::Object(map)) => map.retain(|name, value| {
            let step = Step::field(name);
            is_kept(place, value, &step, fields)
        }),
        (Shape::List(keys), Value::Array(list)) => list.retain_mut(|element| {
            let step = step_of(element, &keys);
            is_kept(place, element, &step, fields)
        }),
        (Shape::Set, Value::Array(list)) => list.retain_mut(|element| {
            let step = Step::value(element);
            is_kept(place, element, &step, fields)
        }),
        _ => {}
    }
}

fn is_kept(place: Place<'_>, value: &mut Value, step: &Step, fields: &FieldSet) -> bool {
    let Some(fields) = fields.at(step) else {
        return true;
    };
    if fields.itself {
        return false;
    }
    let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    let was_empty = is_empty(value);
    remove(place.inside(step), value, fields);
    was_empty || !is_empty(value)
}
