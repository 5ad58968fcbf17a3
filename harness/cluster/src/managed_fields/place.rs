//! Which values of an object are compared and merged as one, and which part by part.
//!
//! For built-in kinds this is a table of the fields' names. Strategic merge
//! patches have a table of their own, which differs (`patch`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::set::Step;
use crate::custom::{ListKind, Schema};
use crate::store::Resource;

/// A place in an object, which says how its value is merged.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Place<'a> {
    /// Of a built-in kind: a field, and the field in which it is. The elements
    /// of a list are at the place of their list.
    BuiltIn { parent: &'a str, field: &'a str },
    /// The root of a custom resource; its metadata are like all others.
    CustomRoot(&'a Schema),
    /// In a custom resource, with the schema of the value if there is one.
    Custom(Option<&'a Schema>),
}

/// The keys which tell the elements of a list apart, each with the value it has
/// when it is left out.
type Keys<'a> = Vec<(&'a str, Value)>;

/// How the value at a place is merged.
#[derive(Debug)]
pub(crate) enum Shape<'a> {
    /// As one.
    Atomic,
    /// Field by field.
    Map,
    /// Element by element, known by their keys.
    List(Keys<'a>),
    /// Element by element, known by their values.
    Set,
}

impl<'a> Place<'a> {
    /// The root of an object of a built-in kind.
    pub(crate) const ROOT: Self = Self::BuiltIn {
        parent: "",
        field: "",
    };

    /// The root of an object of this kind.
    pub(crate) fn root(resource: &'a Resource) -> Self {
        match resource {
            Resource::Custom(custom) => Self::CustomRoot(&custom.version().schema),
            _ => Self::ROOT,
        }
    }

    /// The place one step inside the value here.
    pub(crate) fn inside<'b>(self, step: &'b Step) -> Place<'b>
    where
        'a: 'b,
    {
        match (self, step.field_name()) {
            (Self::BuiltIn { field, .. }, Some(name)) => Place::BuiltIn {
                parent: field,
                field: name,
            },
            (Self::BuiltIn { .. }, None) => self,
            (Self::CustomRoot(_), Some("metadata")) => Self::ROOT.inside(step),
            (Self::CustomRoot(schema) | Self::Custom(Some(schema)), Some(name)) => {
                Place::Custom(schema.field(name))
            }
            (Self::CustomRoot(schema) | Self::Custom(Some(schema)), None) => {
                Place::Custom(schema.items())
            }
            (Self::Custom(None), _) => self,
        }
    }

    /// How two values are merged here, of which one may be absent.
    pub(crate) fn shape(self, one: Option<&Value>, other: Option<&Value>) -> Shape<'a> {
        let kinds = [one, other].map(|value| value.filter(|value| !value.is_null()));
        match kinds {
            [Some(Value::Object(_)), Some(Value::Object(_)) | None]
            | [None, Some(Value::Object(_))]
                if !self.is_atomic_map() =>
            {
                Shape::Map
            }
            [Some(Value::Array(one)), Some(Value::Array(other))] => self.list_shape(&[one, other]),
            [Some(Value::Array(list)), None] | [None, Some(Value::Array(list))] => {
                self.list_shape(&[list])
            }
            _ => Shape::Atomic,
        }
    }

    fn is_atomic_map(self) -> bool {
        match self {
            Self::BuiltIn { parent, field } => is_atomic_map(parent, field),
            Self::Custom(Some(schema)) => schema.is_atomic_map(),
            Self::CustomRoot(_) | Self::Custom(None) => false,
        }
    }

    /// Only a list of objects can have keys, whatever the table says.
    fn list_shape(self, lists: &[&Vec<Value>]) -> Shape<'a> {
        let shape = match self {
            Self::BuiltIn { parent, field } => built_in_list(parent, field),
            Self::Custom(Some(schema)) => custom_list(schema),
            Self::CustomRoot(_) | Self::Custom(None) => Shape::Atomic,
        };
        let mut elements = lists.iter().copied().flatten();
        match shape {
            Shape::List(_) if !elements.all(Value::is_object) => Shape::Atomic,
            Shape::Set if elements.any(|element| element.is_object() || element.is_array()) => {
                Shape::Atomic
            }
            shape => shape,
        }
    }
}

/// A list as its schema says.
fn custom_list(schema: &Schema) -> Shape<'_> {
    match schema.list_kind() {
        ListKind::Atomic => Shape::Atomic,
        ListKind::Set => Shape::Set,
        ListKind::Map(keys) => {
            let default = |key: &String| {
                let field = schema.items().and_then(|items| items.field(key));
                field
                    .and_then(Schema::default_value)
                    .cloned()
                    .unwrap_or_default()
            };
            Shape::List(
                keys.iter()
                    .map(|key| (key.as_str(), default(key)))
                    .collect(),
            )
        }
    }
}

/// The step to an element of a list with keys.
pub(crate) fn step_of(element: &Value, keys: &Keys<'_>) -> Step {
    let values: BTreeMap<&str, &Value> = keys
        .iter()
        .map(|(key, default)| (*key, element.get(key).unwrap_or(default)))
        .collect();
    Step::keys(&values)
}

/// Maps which stand for one value: selectors and references.
fn is_atomic_map(parent: &str, field: &str) -> bool {
    matches!(
        (parent, field),
        (
            _,
            "selector"
                | "labelSelector"
                | "namespaceSelector"
                | "nodeSelector"
                | "fieldRef"
                | "resourceFieldRef"
                | "configMapKeyRef"
                | "secretKeyRef"
                | "involvedObject"
                | "related"
                | "targetRef"
                | "ownerReferences"
                | "imagePullSecrets"
        )
    ) && parent != "labels"
        && parent != "annotations"
}

fn built_in_list(parent: &str, field: &str) -> Shape<'static> {
    const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
    let by = |key: &'static str| Shape::List(vec![(key, Value::Null)]);
    let port =
        |key: &'static str| Shape::List(vec![(key, Value::Null), ("protocol", "TCP".into())]);
    match (parent, field) {
        ("metadata", "ownerReferences") => by("uid"),
        ("metadata", "finalizers") | ("spec", "podCIDRs") => Shape::Set,
        (
            "spec",
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "volumes"
            | "imagePullSecrets"
            | "resourceClaims"
            | "schedulingGates",
        ) => by("name"),
        ("spec", "hostAliases") | ("status", "podIPs") => by("ip"),
        ("spec", "topologySpreadConstraints") => Shape::List(vec![
            ("topologyKey", Value::Null),
            ("whenUnsatisfiable", Value::Null),
        ]),
        ("spec", "ports") => port("port"),
        ("status", "conditions" | "addresses") => by("type"),
        ("status", "resourceClaimStatuses") => by("name"),
        (parent, field) if CONTAINERS.contains(&parent) => match field {
            "ports" => port("containerPort"),
            "env" => by("name"),
            "volumeMounts" => by("mountPath"),
            "volumeDevices" => by("devicePath"),
            _ => Shape::Atomic,
        },
        ("resources", "claims") => by("name"),
        _ => Shape::Atomic,
    }
}
