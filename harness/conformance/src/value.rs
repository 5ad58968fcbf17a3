//! Putting JSON values together.

use serde_json::Value;

/// `base` with the fields of `changes`, objects within objects merged, everything else replaced.
pub(crate) fn merged(mut base: Value, changes: Value) -> Value {
    match (&mut base, changes) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                let field = fields.remove(&name).unwrap_or_default();
                fields.insert(name, merged(field, change));
            }
            base
        }
        (_, changes) => changes,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merged;

    #[test]
    fn objects_are_merged_and_everything_else_replaced() {
        let base = json!({"a": {"b": 1, "c": [1]}, "d": 2});
        let changes = json!({"a": {"c": [2, 3], "e": {"f": 4}}});
        assert_eq!(
            merged(base, changes),
            json!({"a": {"b": 1, "c": [2, 3], "e": {"f": 4}}, "d": 2})
        );
    }
}
