//! Sets of fields, in the notation of `managedFields` (FieldsV1): `f:` is a
//! field, `k:` an element of a list known by keys, `v:` an element of a set.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::object;
use crate::patch::{ListKind, list_kind};

/// From the root to a field, each step with its prefix.
pub(super) type Path = Vec<String>;
pub(super) type Fields = BTreeSet<Path>;

/// What an object says about itself is nobody's field.
const UNMANAGED_METADATA: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

/// The fields by which server-side apply tells the elements of a list apart.
pub(super) fn element_keys(parent: &str, field: &str) -> Option<&'static [&'static str]> {
    match list_kind(parent, field) {
        ListKind::Map("containerPort") => Some(&["containerPort", "protocol"]),
        ListKind::Map("port") => Some(&["port", "protocol"]),
        ListKind::Map("topologyKey") => Some(&["topologyKey", "whenUnsatisfiable"]),
        ListKind::Map("name") => Some(&["name"]),
        ListKind::Map("mountPath") => Some(&["mountPath"]),
        ListKind::Map("devicePath") => Some(&["devicePath"]),
        ListKind::Map("ip") => Some(&["ip"]),
        ListKind::Map("type") => Some(&["type"]),
        ListKind::Map("uid") => Some(&["uid"]),
        ListKind::Map(_) | ListKind::Set | ListKind::Atomic => None,
    }
}

/// The values of an element's keys. A protocol may be left out.
pub(super) fn key_of(element: &Value, keys: &[&str]) -> Value {
    let value = |key: &str| match &element[key] {
        Value::Null if key == "protocol" => "TCP".into(),
        value => value.clone(),
    };
    Value::Object(
        keys.iter()
            .map(|key| ((*key).to_owned(), value(key)))
            .collect(),
    )
}

/// Selectors are one value each, although they are maps.
pub(super) fn is_atomic_map(parent: &str, field: &str) -> bool {
    (parent, field) == ("spec", "selector")
}

/// The fields an object sets, without the ones which belong to nobody.
pub(super) fn fields_of(object: &Value) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        match name.as_str() {
            "apiVersion" | "kind" | "status" => {}
            _ => collect(value, "", name, &mut vec![format!("f:{name}")], &mut fields),
        }
    }
    fields.retain(|path| {
        let metadata = path.first().is_some_and(|step| step == "f:metadata");
        let name = path
            .get(1)
            .and_then(|step| step.strip_prefix("f:"))
            .unwrap_or_default();
        !(metadata && UNMANAGED_METADATA.contains(&name))
    });
    fields
}

fn collect(value: &Value, parent: &str, name: &str, path: &mut Path, fields: &mut Fields) {
    let mut descend = |step: String, value: &Value, parent: &str, name: &str| {
        path.push(step);
        collect(value, parent, name, path, fields);
        path.pop();
    };
    match value {
        Value::Object(map) if !map.is_empty() && !is_atomic_map(parent, name) => {
            for (field, value) in map {
                descend(format!("f:{field}"), value, name, field);
            }
        }
        Value::Array(elements) => {
            if let Some(keys) = element_keys(parent, name) {
                for element in elements {
                    let step = format!("k:{}", key_of(element, keys));
                    descend(step, element, parent, name);
                }
            } else if list_kind(parent, name) == ListKind::Set {
                for element in elements {
                    descend(format!("v:{element}"), &Value::Null, "", "");
                }
            } else {
                fields.insert(path.clone());
            }
        }
        _ => {
            fields.insert(path.clone());
        }
    }
}

/// The value at a path.
pub(super) fn value_at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter()
        .try_fold(object, |value, step| match step.split_at_checked(2)? {
            ("f:", field) => value.get(field),
            ("k:", key) => value
                .as_array()?
                .iter()
                .find(|element| has_key(element, key)),
            (_, plain) => value
                .as_array()?
                .iter()
                .find(|element| is_written(element, plain)),
        })
}

/// Whether two objects have the same at a path. An empty map applied over a
/// map changes nothing.
pub(super) fn agree_at(live: &Value, applied: &Value, path: &[String]) -> bool {
    match (value_at(live, path), value_at(applied, path)) {
        (Some(Value::Object(_)), Some(Value::Object(applied))) if applied.is_empty() => true,
        (live, applied) => live == applied,
    }
}

/// Whether this JSON text is how a plain value is written.
fn is_written(value: &Value, text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|written| written == *value)
}

fn has_key(element: &Value, key: &str) -> bool {
    let Ok(Value::Object(wanted)) = serde_json::from_str::<Value>(key) else {
        return false;
    };
    let keys: Vec<&str> = wanted.keys().map(String::as_str).collect();
    key_of(element, &keys) == Value::Object(wanted)
}

/// Removes the value at a path, and what becomes empty by that: an element of
/// which only its keys are left counts as empty.
pub(super) fn remove_at(value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    match step.split_at_checked(2) {
        Some(("f:", field)) => {
            let Some(map) = value.as_object_mut() else {
                return;
            };
            let Some(inner) = map.get_mut(field) else {
                return;
            };
            remove_at(inner, rest);
            if rest.is_empty() || is_empty(inner) {
                map.remove(field);
            }
        }
        Some(("k:", key)) => {
            let Some(list) = value.as_array_mut() else {
                return;
            };
            let Some(position) = list.iter().position(|element| has_key(element, key)) else {
                return;
            };
            remove_at(&mut list[position], rest);
            if rest.is_empty() || !has_key(&list[position], key) || is_empty(&list[position]) {
                list.remove(position);
            }
        }
        Some((_, plain)) => {
            if let Some(list) = value.as_array_mut() {
                list.retain(|element| !is_written(element, plain));
            }
        }
        None => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Puts what is applied over what is there.
pub(super) fn merge(base: &mut Value, applied: &Value, parent: &str, name: &str) {
    match applied {
        Value::Object(map) if !is_atomic_map(parent, name) => {
            for (field, value) in map {
                merge(
                    &mut object::map_of(base)[field.as_str()],
                    value,
                    name,
                    field,
                );
            }
            object::map_of(base);
        }
        Value::Array(elements) => {
            let keys = element_keys(parent, name);
            let set = list_kind(parent, name) == ListKind::Set;
            let Some(list) = base.as_array_mut().filter(|_| keys.is_some() || set) else {
                *base = applied.clone();
                return;
            };
            for element in elements {
                let same = |present: &Value| match keys {
                    Some(keys) => key_of(present, keys) == key_of(element, keys),
                    None => present == element,
                };
                match list.iter_mut().find(|present| same(present)) {
                    Some(present) => merge(present, element, parent, name),
                    None => list.push(element.clone()),
                }
            }
        }
        plain => *base = plain.clone(),
    }
}

/// As `managedFields` writes a set.
pub(super) fn to_json(fields: &Fields) -> Value {
    let mut root = Value::Object(Map::new());
    for path in fields {
        path.iter()
            .fold(&mut root, |place, step| object::map_at(place, step));
    }
    root
}

pub(super) fn from_json(json: &Value) -> Fields {
    let mut fields = Fields::new();
    read(json, &mut Path::new(), &mut fields);
    fields
}

fn read(json: &Value, path: &mut Path, fields: &mut Fields) {
    let steps = json
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(step, _)| *step != ".");
    let mut is_leaf = true;
    for (step, inner) in steps {
        is_leaf = false;
        path.push(step.clone());
        read(inner, path, fields);
        path.pop();
    }
    if is_leaf && !path.is_empty() {
        fields.insert(path.clone());
    }
}
