//! Reading the common parts of an object kept as JSON.

use std::collections::BTreeMap;

use serde_json::Value;

/// A string at a JSON pointer, empty when absent.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The namespace, empty for an object without one.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn resource_version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion")
        .parse()
        .unwrap_or_default()
}

/// Whether deletion has been asked for.
pub(crate) fn is_deleting(object: &Value) -> bool {
    object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null())
}

pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    strings(object, "/metadata/finalizers")
}

/// The strings of a list at a JSON pointer.
pub(crate) fn strings<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

pub(crate) fn labels(object: &Value) -> BTreeMap<String, String> {
    string_map(object, "/metadata/labels")
}

/// The text values of a map at a JSON pointer.
pub(crate) fn string_map(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let entries = object
        .pointer(pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The owner references, as JSON.
pub(crate) fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// The value as a map, made one when it is none.
pub(crate) fn map_of(value: &mut Value) -> &mut Value {
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    value
}

/// The map at `key`, created when absent or not a map.
pub(crate) fn map_at<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    map_of(&mut map_of(object)[key])
}
