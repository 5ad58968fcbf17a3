//! What a strategic merge patch has to be like, whatever it is applied to.

use serde_json::{Map, Value};

use super::{DELETE_FROM, ListKind, PATCH, RETAIN_KEYS, SET_ORDER, list_kind};

const OPERATIONS: [&str; 3] = ["merge", "replace", "delete"];

/// A patch that cannot be meant as it is written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidPatch {
    #[error("{path}: unknown $patch {found}, known are merge, replace and delete")]
    UnknownOperation { path: String, found: Value },
    #[error("{path}: unknown directive {directive:?}")]
    UnknownDirective { path: String, directive: String },
    #[error("{path}: the directive {directive:?} needs a list")]
    NoList { path: String, directive: String },
    #[error("{path}: an element without the merge key {key:?}")]
    NoMergeKey { path: String, key: &'static str },
    #[error("{path}: the field {field:?} is set, but not among the $retainKeys")]
    NotRetained { path: String, field: String },
    #[error("{path}: the elements are not those of the $setElementOrder, in its order")]
    AnotherOrder { path: String },
}

/// Checks the directives of a patch and the keys of its elements.
pub(crate) fn check(patch: &Value) -> Result<(), InvalidPatch> {
    match patch {
        Value::Object(map) => check_map(map, "", "the patch"),
        _ => Ok(()),
    }
}

fn check_map(patch: &Map<String, Value>, name: &str, path: &str) -> Result<(), InvalidPatch> {
    for (key, value) in patch.iter().filter(|(key, _)| key.starts_with('$')) {
        check_directive(key, value, path)?;
    }
    if let Some(Value::Array(retained)) = patch.get(RETAIN_KEYS) {
        let mut fields = patch.iter().filter(|(field, _)| !field.starts_with('$'));
        let lost = |field: &String| !retained.iter().any(|key| key == field);
        if let Some((field, _)) = fields.find(|(field, value)| !value.is_null() && lost(field)) {
            return Err(InvalidPatch::NotRetained {
                path: path.to_owned(),
                field: field.clone(),
            });
        }
    }
    for (field, value) in patch {
        let inner = format!("{path}.{field}");
        match value {
            Value::Object(map) => check_map(map, field, &inner)?,
            Value::Array(elements) if !field.starts_with('$') => {
                let order = patch.get(&format!("{SET_ORDER}{field}"));
                let kind = list_kind(name, field);
                check_list(elements, field, kind, order, &inner)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_directive(key: &str, value: &Value, path: &str) -> Result<(), InvalidPatch> {
    let path = path.to_owned();
    let directive = key.to_owned();
    let takes_list =
        key == RETAIN_KEYS || key.starts_with(SET_ORDER) || key.starts_with(DELETE_FROM);
    match key {
        PATCH if OPERATIONS.iter().any(|known| value == known) => Ok(()),
        PATCH => Err(InvalidPatch::UnknownOperation {
            path,
            found: value.clone(),
        }),
        _ if !takes_list => Err(InvalidPatch::UnknownDirective { path, directive }),
        _ if !value.is_array() => Err(InvalidPatch::NoList { path, directive }),
        _ => Ok(()),
    }
}

fn check_list(
    elements: &[Value],
    name: &str,
    kind: ListKind,
    order: Option<&Value>,
    path: &str,
) -> Result<(), InvalidPatch> {
    let key = match kind {
        ListKind::Map(key) => Some(key),
        ListKind::Set => None,
        ListKind::Atomic => return Ok(()),
    };
    for element in elements {
        let Some(key) = key else { continue };
        if element[key].is_null() && element[PATCH] != "replace" {
            let path = path.to_owned();
            return Err(InvalidPatch::NoMergeKey { path, key });
        }
        if let Value::Object(map) = element {
            check_map(map, name, path)?;
        }
    }
    let Some(order) = order.and_then(Value::as_array) else {
        return Ok(());
    };
    let same = |element: &Value, ordered: &Value| match key {
        Some(key) => element[key] == ordered[key],
        None => element == ordered,
    };
    let mut ordered = order.iter();
    let staying = elements.iter().filter(|element| element[PATCH].is_null());
    for element in staying {
        if !ordered.any(|ordered| same(element, ordered)) {
            let path = path.to_owned();
            return Err(InvalidPatch::AnotherOrder { path });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_which_cannot_be_meant_is_refused_at_its_place() {
        let cases = [
            (
                json!({"spec": {"$patch": "eat"}}),
                "the patch.spec: unknown $patch \"eat\"",
            ),
            (json!({"$do": 1}), "the patch: unknown directive \"$do\""),
            (json!({"$retainKeys": 1}), "needs a list"),
            (
                json!({"spec": {"containers": [{"image": "x"}]}}),
                "the patch.spec.containers: an element without the merge key \"name\"",
            ),
            (
                json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}),
                "the field \"rollingUpdate\" is set",
            ),
            (
                json!({"spec": {
                    "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
                    "containers": [{"name": "b"}, {"name": "a"}],
                }}),
                "not those of the $setElementOrder",
            ),
            (
                json!({"metadata": {
                    "$setElementOrder/finalizers": ["a"], "finalizers": ["b"],
                }}),
                "not those of the $setElementOrder",
            ),
        ];
        for (patch, message) in cases {
            let refused = check(&patch).unwrap_err().to_string();
            assert!(refused.contains(message), "{refused}");
        }
    }

    #[test]
    fn what_kubectl_sends_is_accepted() {
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
            "containers": [
                {"name": "b", "image": "x", "args": [{}]},
                {"name": "gone", "$patch": "delete"},
            ],
            "strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null},
            "volumes": [{"$patch": "replace"}],
        }});
        check(&patch).unwrap();
    }
}
