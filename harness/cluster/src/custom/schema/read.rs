//! Reading a schema from a definition: only structural schemas are accepted.
//!
//! A structural schema says at each place of an object what stands there, in
//! one place; `allOf`, `anyOf`, `oneOf` and `not` only add conditions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;

use super::format::{self, Known};
use super::structure;
use super::{Additional, Bound, ListKind, Range, Rules, Schema, Type};
use crate::cause::{Cause, CauseReason};

const NOT_SUPPORTED: &str = "not supported by the local cluster";

/// Where a schema stands, which decides what it must say.
#[derive(Copy, Clone, Debug)]
enum Place {
    Root,
    Field,
    Elements,
}

/// Reads the schema of whole objects at `path` and notes what is wrong with it.
pub(crate) fn read(raw: &JSONSchemaProps, path: &str, causes: &mut Vec<Cause>) -> Schema {
    let schema = Reader { causes }.structural(raw, path, Place::Root);
    if schema.value_type.is_some_and(|found| found != Type::Object) {
        let message = format!(
            "{:?}: must be object at the root",
            raw.type_.as_deref().unwrap_or_default()
        );
        causes.push(Cause::new(
            CauseReason::Invalid,
            format!("{path}.type"),
            message,
        ));
    }
    check_metadata(raw, path, causes);
    structure::check(&schema, path, causes);
    schema
}

/// Metadata have a structure already; at most the names can be restricted.
fn check_metadata(raw: &JSONSchemaProps, path: &str, causes: &mut Vec<Cause>) {
    let metadata = raw
        .properties
        .as_ref()
        .and_then(|properties| properties.get("metadata"));
    let named = metadata.and_then(|metadata| metadata.properties.as_ref());
    let mut others = named
        .into_iter()
        .flatten()
        .filter(|(name, _)| !matches!(name.as_str(), "name" | "generateName"));
    if others.next().is_some() {
        let message = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        let path = format!("{path}.properties[metadata]");
        causes.push(Cause::new(CauseReason::Forbidden, path, message));
    }
}

struct Reader<'a> {
    causes: &'a mut Vec<Cause>,
}

impl Reader<'_> {
    fn refuse(&mut self, reason: CauseReason, path: &str, message: &str) {
        self.causes.push(Cause::new(reason, path, message));
    }

    fn forbid(&mut self, present: bool, path: &str, field: &str, message: &str) {
        if present {
            self.refuse(CauseReason::Forbidden, &format!("{path}.{field}"), message);
        }
    }

    /// A schema which says what stands at a place.
    fn structural(&mut self, raw: &JSONSchemaProps, path: &str, place: Place) -> Schema {
        let int_or_string = raw.x_kubernetes_int_or_string == Some(true);
        let preserve_unknown_fields = raw.x_kubernetes_preserve_unknown_fields == Some(true);
        let schema = Schema {
            value_type: self.value_type(raw, path, place),
            nullable: raw.nullable == Some(true),
            default: raw.default.as_ref().map(|default| default.0.clone()),
            int_or_string,
            preserve_unknown_fields,
            embedded_resource: raw.x_kubernetes_embedded_resource == Some(true),
            properties: self.properties(raw, path, Self::structural_field),
            additional: self.additional(raw, path),
            items: self.items(raw, path, Self::structural_elements),
            list_kind: self.list_kind(raw, path),
            is_atomic_map: self.is_atomic_map(raw, path),
            rules: self.rules(raw, path),
        };
        let preserve = "x-kubernetes-preserve-unknown-fields";
        let present = raw.x_kubernetes_preserve_unknown_fields == Some(false);
        self.forbid(present, path, preserve, "must be true or undefined");
        if schema.embedded_resource && schema.properties.is_empty() && !preserve_unknown_fields {
            let message = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.refuse(
                CauseReason::Required,
                &format!("{path}.properties"),
                message,
            );
        }
        schema
    }

    fn structural_field(&mut self, raw: &JSONSchemaProps, path: &str) -> Schema {
        self.structural(raw, path, Place::Field)
    }

    fn structural_elements(&mut self, raw: &JSONSchemaProps, path: &str) -> Schema {
        self.structural(raw, path, Place::Elements)
    }

    /// A schema which only adds conditions.
    fn nested(&mut self, raw: &JSONSchemaProps, path: &str) -> Schema {
        let empty = "must be empty to be structural";
        self.forbid(raw.type_.is_some(), path, "type", empty);
        self.forbid(raw.title.is_some(), path, "title", empty);
        self.forbid(raw.description.is_some(), path, "description", empty);
        let undefined = "must be undefined to be structural";
        self.forbid(raw.default.is_some(), path, "default", undefined);
        self.forbid(
            raw.additional_properties.is_some(),
            path,
            "additionalProperties",
            undefined,
        );
        self.forbid(
            raw.nullable == Some(true),
            path,
            "nullable",
            "must be false to be structural",
        );
        for (field, present) in [
            (
                "x-kubernetes-preserve-unknown-fields",
                raw.x_kubernetes_preserve_unknown_fields.is_some(),
            ),
            (
                "x-kubernetes-embedded-resource",
                raw.x_kubernetes_embedded_resource.is_some(),
            ),
            (
                "x-kubernetes-int-or-string",
                raw.x_kubernetes_int_or_string.is_some(),
            ),
            (
                "x-kubernetes-list-type",
                raw.x_kubernetes_list_type.is_some(),
            ),
            (
                "x-kubernetes-list-map-keys",
                raw.x_kubernetes_list_map_keys.is_some(),
            ),
            ("x-kubernetes-map-type", raw.x_kubernetes_map_type.is_some()),
        ] {
            self.forbid(present, path, field, undefined);
        }
        Schema {
            properties: self.properties(raw, path, Self::nested),
            items: self.items(raw, path, Self::nested),
            rules: self.rules(raw, path),
            ..Schema::default()
        }
    }

    fn value_type(&mut self, raw: &JSONSchemaProps, path: &str, place: Place) -> Option<Type> {
        let path = format!("{path}.type");
        let int_or_string = raw.x_kubernetes_int_or_string == Some(true);
        let any = raw.x_kubernetes_preserve_unknown_fields == Some(true);
        match raw.type_.as_deref() {
            Some(name) if int_or_string => {
                let message =
                    format!("{name:?}: must be empty if x-kubernetes-int-or-string is true");
                self.refuse(CauseReason::Invalid, &path, &message);
                None
            }
            Some(name) => {
                let known = Type::named(name);
                if known.is_none() {
                    let names = Type::ALL
                        .map(|known| format!("{:?}", known.name()))
                        .join(", ");
                    let message = format!("{name:?}: supported values: {names}");
                    self.refuse(CauseReason::NotSupported, &path, &message);
                }
                known
            }
            None if int_or_string || (any && !matches!(place, Place::Root)) => None,
            None => {
                let message = match place {
                    Place::Root => "must not be empty at the root",
                    Place::Field => "must not be empty for specified object fields",
                    Place::Elements => "must not be empty for specified array items",
                };
                self.refuse(CauseReason::Required, &path, message);
                None
            }
        }
    }

    fn properties(
        &mut self,
        raw: &JSONSchemaProps,
        path: &str,
        read: impl Fn(&mut Self, &JSONSchemaProps, &str) -> Schema,
    ) -> std::collections::BTreeMap<String, Schema> {
        let properties = raw.properties.iter().flatten();
        properties
            .map(|(name, raw)| {
                let schema = read(self, raw, &format!("{path}.properties[{name}]"));
                (name.clone(), schema)
            })
            .collect()
    }

    fn items(
        &mut self,
        raw: &JSONSchemaProps,
        path: &str,
        read: impl Fn(&mut Self, &JSONSchemaProps, &str) -> Schema,
    ) -> Option<Box<Schema>> {
        let path = format!("{path}.items");
        match raw.items.as_ref()? {
            JSONSchemaPropsOrArray::Schema(items) => Some(Box::new(read(self, items, &path))),
            JSONSchemaPropsOrArray::Schemas(_) => {
                let message = "items must be a schema object and not an array";
                self.refuse(CauseReason::Forbidden, &path, message);
                None
            }
        }
    }

    fn additional(&mut self, raw: &JSONSchemaProps, path: &str) -> Option<Additional> {
        let additional = raw.additional_properties.as_ref()?;
        let has_names = raw
            .properties
            .as_ref()
            .is_some_and(|names| !names.is_empty());
        let message = "additionalProperties and properties are mutual exclusive";
        self.forbid(has_names, path, "additionalProperties", message);
        let path = format!("{path}.additionalProperties");
        match additional {
            JSONSchemaPropsOrBool::Bool(true) => Some(Additional::Any),
            JSONSchemaPropsOrBool::Bool(false) => {
                let message = "additionalProperties cannot be set to false";
                self.refuse(CauseReason::Forbidden, &path, message);
                None
            }
            JSONSchemaPropsOrBool::Schema(schema) => {
                let schema = self.structural(schema, &path, Place::Field);
                Some(Additional::Of(Box::new(schema)))
            }
        }
    }

    fn list_kind(&mut self, raw: &JSONSchemaProps, path: &str) -> ListKind {
        let keys = raw.x_kubernetes_list_map_keys.clone().unwrap_or_default();
        let keys_path = format!("{path}.x-kubernetes-list-map-keys");
        if raw.type_.as_deref() == Some("array") && raw.items.is_none() {
            let message = "must be specified for arrays";
            self.refuse(CauseReason::Required, &format!("{path}.items"), message);
        }
        let kind = raw.x_kubernetes_list_type.as_deref();
        if !keys.is_empty() && kind != Some("map") {
            let message = "must be empty if x-kubernetes-list-type is not map";
            self.refuse(CauseReason::Forbidden, &keys_path, message);
        }
        match kind {
            None | Some("atomic") => ListKind::Atomic,
            Some("set") => ListKind::Set,
            Some("map") => {
                self.check_keys(raw, &keys, &keys_path);
                ListKind::Map(keys)
            }
            Some(other) => {
                let message = format!("{other:?}: supported values: \"atomic\", \"map\", \"set\"");
                let path = format!("{path}.x-kubernetes-list-type");
                self.refuse(CauseReason::NotSupported, &path, &message);
                ListKind::Atomic
            }
        }
    }

    fn is_atomic_map(&mut self, raw: &JSONSchemaProps, path: &str) -> bool {
        let kind = raw.x_kubernetes_map_type.as_deref();
        if let Some(other) = kind.filter(|kind| !matches!(*kind, "atomic" | "granular")) {
            let message = format!("{other:?}: supported values: \"atomic\", \"granular\"");
            let path = format!("{path}.x-kubernetes-map-type");
            self.refuse(CauseReason::NotSupported, &path, &message);
        }
        kind == Some("atomic")
    }

    fn check_keys(&mut self, raw: &JSONSchemaProps, keys: &[String], path: &str) {
        if keys.is_empty() {
            let message = "must not be empty if x-kubernetes-list-type is map";
            self.refuse(CauseReason::Required, path, message);
        }
        let Some(JSONSchemaPropsOrArray::Schema(items)) = &raw.items else {
            return;
        };
        for (index, key) in keys.iter().enumerate() {
            let place = format!("{path}[{index}]");
            let property = items
                .properties
                .iter()
                .flatten()
                .find(|(name, _)| *name == key);
            let Some((_, property)) = property else {
                let message = format!("{key:?}: entries must all be names of item properties");
                self.refuse(CauseReason::Invalid, &place, &message);
                continue;
            };
            let required = items.required.iter().flatten().any(|name| name == key);
            if !required && property.default.is_none() {
                let message = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.refuse(CauseReason::Required, &place, message);
            }
        }
    }

    /// The conditions on a value.
    fn rules(&mut self, raw: &JSONSchemaProps, path: &str) -> Rules {
        self.forbid_unusable(raw, path);
        let bound = |value: Option<f64>, exclusive: Option<bool>| {
            let exclusive = exclusive == Some(true);
            value.map(|value| Bound { value, exclusive })
        };
        let all_of = raw
            .all_of
            .iter()
            .flatten()
            .filter(|raw| !is_int_or_string(raw));
        let any_of = raw.any_of.iter().flatten();
        Rules {
            required: raw.required.clone().unwrap_or_default(),
            allowed: raw
                .enum_
                .as_ref()
                .map(|values| values.iter().map(|value| value.0.clone()).collect()),
            pattern: self.pattern(raw, path),
            format: self.format(raw, path),
            minimum: bound(raw.minimum, raw.exclusive_minimum),
            maximum: bound(raw.maximum, raw.exclusive_maximum),
            multiple_of: raw.multiple_of,
            length: range(raw.min_length, raw.max_length),
            items: range(raw.min_items, raw.max_items),
            properties: range(raw.min_properties, raw.max_properties),
            all_of: self.several(all_of, &format!("{path}.allOf")),
            any_of: if is_int_or_string(raw) {
                Vec::new()
            } else {
                self.several(any_of, &format!("{path}.anyOf"))
            },
            one_of: self.several(raw.one_of.iter().flatten(), &format!("{path}.oneOf")),
            not: raw
                .not
                .as_ref()
                .map(|raw| Box::new(self.nested(raw, &format!("{path}.not")))),
        }
    }

    fn several<'a>(
        &mut self,
        raw: impl Iterator<Item = &'a JSONSchemaProps>,
        path: &str,
    ) -> Vec<Schema> {
        raw.enumerate()
            .map(|(index, raw)| self.nested(raw, &format!("{path}[{index}]")))
            .collect()
    }

    fn forbid_unusable(&mut self, raw: &JSONSchemaProps, path: &str) {
        for (field, present) in [
            ("$ref", raw.ref_path.is_some()),
            ("$schema", raw.schema.is_some()),
            ("id", raw.id.is_some()),
            ("definitions", raw.definitions.is_some()),
            ("dependencies", raw.dependencies.is_some()),
            ("patternProperties", raw.pattern_properties.is_some()),
            ("additionalItems", raw.additional_items.is_some()),
        ] {
            self.forbid(present, path, field, &format!("{field} is not supported"));
        }
        let message =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        self.forbid(raw.unique_items == Some(true), path, "uniqueItems", message);
        let has_rules = raw
            .x_kubernetes_validations
            .as_ref()
            .is_some_and(|rules| !rules.is_empty());
        let message = format!("rules in CEL are {NOT_SUPPORTED}");
        self.forbid(has_rules, path, "x-kubernetes-validations", &message);
    }

    fn pattern(&mut self, raw: &JSONSchemaProps, path: &str) -> Option<Regex> {
        let pattern = raw.pattern.as_deref()?;
        match Regex::new(pattern) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let message =
                    format!("{pattern:?}: must be a valid regular expression, but isn't: {error}");
                self.refuse(CauseReason::Invalid, &format!("{path}.pattern"), &message);
                None
            }
        }
    }

    fn format(&mut self, raw: &JSONSchemaProps, path: &str) -> Option<super::Format> {
        let name = raw.format.as_deref()?;
        match format::named(name) {
            Known::Checked(format) => Some(format),
            Known::Unchecked | Known::Unknown => None,
            Known::NotSupported => {
                let message = format!("{name:?}: {NOT_SUPPORTED}");
                self.refuse(CauseReason::Forbidden, &format!("{path}.format"), &message);
                None
            }
        }
    }
}

fn range(minimum: Option<i64>, maximum: Option<i64>) -> Range {
    let count = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    Range {
        minimum: count(minimum),
        maximum: count(maximum),
    }
}

/// Whether `anyOf` says once more that a value is a whole number or text, the
/// one case in which it may name types.
fn is_int_or_string(raw: &JSONSchemaProps) -> bool {
    let types: Vec<_> = raw
        .any_of
        .iter()
        .flatten()
        .map(|raw| raw.type_.as_deref())
        .collect();
    types == [Some("integer"), Some("string")]
}
