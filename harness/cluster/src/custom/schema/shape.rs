//! Giving an object its schema's shape: unknown fields and meaningless nulls
//! go, defaults come.

use serde_json::Value;

use super::{Additional, Schema, below};

/// What each Kubernetes object has, whatever its schema says.
const OBJECT_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Removes the fields which the schema of a whole object does not know, and
    /// tells their paths.
    pub(crate) fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        prune_as(Some(self), object, "", true, &mut dropped);
        drop_nulls(self, object);
        dropped
    }

    /// Whether a value has no fields which the schema does not know.
    pub(super) fn knows_all_of(&self, value: &Value) -> bool {
        let mut dropped = Vec::new();
        prune_as(
            Some(self),
            &mut value.clone(),
            "",
            self.embedded_resource,
            &mut dropped,
        );
        dropped.is_empty()
    }

    /// Sets the fields which are absent and have a default, at all depths.
    pub(crate) fn set_defaults(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, property) in &self.properties {
                    let absent = fields
                        .get(name)
                        .is_none_or(|value| property.is_non_nullable_null(value));
                    if let (Some(default), true) = (&property.default, absent) {
                        fields.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in fields {
                    if let Some(schema) = self.field(name) {
                        schema.set_default_of_null(value);
                        schema.set_defaults(value);
                    }
                }
            }
            Value::Array(elements) => {
                for (element, schema) in elements.iter_mut().zip(std::iter::repeat(self.items())) {
                    if let Some(schema) = schema {
                        schema.set_default_of_null(element);
                        schema.set_defaults(element);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn set_default_of_null(&self, value: &mut Value) {
        if let (Some(default), true) = (&self.default, self.is_non_nullable_null(value)) {
            *value = default.clone();
        }
    }
}

/// Prunes a value; without a schema, all fields of all maps in it are unknown.
fn prune_as(
    schema: Option<&Schema>,
    value: &mut Value,
    path: &str,
    is_object: bool,
    dropped: &mut Vec<String>,
) {
    let preserve = schema.is_some_and(|schema| schema.preserve_unknown_fields);
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let path = below(path, name);
                if is_object && OBJECT_FIELDS.contains(&name.as_str()) {
                    return true;
                }
                let (known, inner) = match schema {
                    None => (false, None),
                    Some(schema) => match (schema.properties.get(name), &schema.additional) {
                        (Some(property), _) => (true, Some(property)),
                        (None, Some(Additional::Of(inner))) => (true, Some(&**inner)),
                        (None, Some(Additional::Any)) => (true, None),
                        (None, None) => (false, None),
                    },
                };
                if known {
                    let embedded = inner.is_some_and(|inner| inner.embedded_resource);
                    prune_as(inner, value, &path, embedded, dropped);
                } else if !preserve {
                    dropped.push(path);
                }
                known || preserve
            });
        }
        Value::Array(elements) => {
            let items = schema.and_then(Schema::items);
            if preserve && items.is_none() {
                return;
            }
            let embedded = items.is_some_and(|items| items.embedded_resource);
            for (index, element) in elements.iter_mut().enumerate() {
                prune_as(
                    items,
                    element,
                    &format!("{path}[{index}]"),
                    embedded,
                    dropped,
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Null in a field which may not be null means that the field is absent. Where
/// it has a default, that is set later.
fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| match schema.field(name) {
            Some(inner) if inner.is_non_nullable_null(value) => inner.default.is_some(),
            Some(inner) => {
                drop_nulls(inner, value);
                true
            }
            None => true,
        }),
        Value::Array(elements) => {
            if let Some(items) = schema.items() {
                elements
                    .iter_mut()
                    .for_each(|element| drop_nulls(items, element));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
