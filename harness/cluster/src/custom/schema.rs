//! Structural schemas: what an object of a custom kind looks like.
//!
//! [`read`] accepts from a definition only what is carried out here; the other
//! modules apply a schema to objects. They know nothing of requests.

mod format;
mod read;
mod shape;
mod structure;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use format::Format;
pub(crate) use format::is_known as is_known_format;
pub(crate) use read::read;

/// The schema of a value.
#[derive(Default, Debug)]
pub(crate) struct Schema {
    /// Absent inside of `anyOf` and its like, and where any value may stand.
    value_type: Option<Type>,
    nullable: bool,
    default: Option<Value>,
    int_or_string: bool,
    preserve_unknown_fields: bool,
    embedded_resource: bool,
    properties: BTreeMap<String, Schema>,
    additional: Option<Additional>,
    items: Option<Box<Schema>>,
    list_kind: ListKind,
    is_atomic_map: bool,
    rules: Rules,
}

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// What the fields of a map without names of its own look like.
#[derive(Debug)]
enum Additional {
    Any,
    Of(Box<Schema>),
}

/// How the elements of a list are told apart when it is merged.
#[derive(Clone, Eq, PartialEq, Default, Debug)]
pub(crate) enum ListKind {
    /// Not at all: the list is one value.
    #[default]
    Atomic,
    Set,
    /// By the values of these fields.
    Map(Vec<String>),
}

/// What a value of the right type has to keep to.
#[derive(Default, Debug)]
struct Rules {
    required: Vec<String>,
    allowed: Option<Vec<Value>>,
    pattern: Option<Regex>,
    format: Option<Format>,
    minimum: Option<Bound>,
    maximum: Option<Bound>,
    multiple_of: Option<f64>,
    length: Range,
    items: Range,
    properties: Range,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
}

#[derive(Copy, Clone, Debug)]
struct Bound {
    value: f64,
    exclusive: bool,
}

/// How many of something there may be.
#[derive(Copy, Clone, Default, Debug)]
struct Range {
    minimum: Option<u64>,
    maximum: Option<u64>,
}

impl Schema {
    /// The schema of a field: of its own, or of all fields of the map.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Of(schema)) => Some(schema),
            Some(Additional::Any) | None => None,
        })
    }

    /// The field at a path such as `.spec.replicas`.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        let mut names = path.split('.').filter(|name| !name.is_empty());
        names.try_fold(self, |schema, name| schema.field(name))
    }

    /// The schema of a list's elements.
    pub(crate) fn items(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// How a list is merged.
    pub(crate) fn list_kind(&self) -> &ListKind {
        &self.list_kind
    }

    /// Whether a map is one value, replaced as a whole.
    pub(crate) fn is_atomic_map(&self) -> bool {
        self.is_atomic_map
    }

    /// The value of what is left out.
    pub(crate) fn default_value(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// Whether the value is text, a whole number or a truth value.
    pub(crate) fn is_selectable(&self) -> bool {
        matches!(
            self.value_type,
            Some(Type::String | Type::Integer | Type::Boolean)
        )
    }

    fn is_non_nullable_null(&self, value: &Value) -> bool {
        value.is_null() && !self.nullable
    }
}

impl Type {
    const ALL: [Self; 6] = [
        Self::Object,
        Self::Array,
        Self::String,
        Self::Integer,
        Self::Number,
        Self::Boolean,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// The path of a field below a path, which may be empty.
fn below(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

#[cfg(test)]
mod tests;
