//! Checking a value against its schema, in the words of a real API server.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Bound, ListKind, Range, Rules, Schema, Type, below};
use crate::cause::{Cause, CauseReason};

impl Schema {
    /// What is wrong with a value; `path` is its place, empty for an object.
    pub(crate) fn validate(&self, value: &Value, path: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        check(self, value, path, &mut causes);
        causes
    }

    fn accepts(&self, value: &Value) -> bool {
        self.validate(value, "").is_empty()
    }
}

fn check(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema.nullable {
        return;
    }
    if let Some(expected) = mismatch(schema, value) {
        let found = type_name(value);
        let message = format!("{found:?}: {path} in body must be of type {expected}: {found:?}");
        causes.push(Cause::new(CauseReason::Invalid, path, message));
        return;
    }
    let rules = &schema.rules;
    check_allowed(rules, value, path, causes);
    match value {
        Value::Object(fields) => check_map(schema, fields, path, causes),
        Value::Array(elements) => check_list(schema, elements, path, causes),
        Value::String(text) => check_text(rules, text, path, causes),
        Value::Number(number) => check_number(rules, number, path, causes),
        Value::Null | Value::Bool(_) => {}
    }
    check_format(rules, value, path, causes);
    check_alternatives(rules, value, path, causes);
}

/// The types a value should have had instead of its own.
fn mismatch(schema: &Schema, value: &Value) -> Option<&'static str> {
    if schema.int_or_string {
        let fits = is_whole(value) || value.is_string();
        return (!fits).then_some("integer,string");
    }
    let expected = schema.value_type?;
    let fits = match expected {
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Integer => is_whole(value),
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
    };
    (!fits).then_some(expected.name())
}

fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => Type::Boolean.name(),
        Value::Number(_) if is_whole(value) => Type::Integer.name(),
        Value::Number(_) => Type::Number.name(),
        Value::String(_) => Type::String.name(),
        Value::Array(_) => Type::Array.name(),
        Value::Object(_) => Type::Object.name(),
    }
}

/// The value or, of what is not plain, the type: as messages show it.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) | Value::Null => format!("{:?}", type_name(value)),
        plain => plain.to_string(),
    }
}

fn invalid(path: &str, shown: impl std::fmt::Display, complaint: &str) -> Cause {
    let message = format!("{shown}: {path} in body {complaint}");
    Cause::new(CauseReason::Invalid, path, message)
}

fn check_allowed(rules: &Rules, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(allowed) = rules
        .allowed
        .as_ref()
        .filter(|allowed| !allowed.contains(value))
    else {
        return;
    };
    let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
    let message = format!("{}: supported values: {}", shown(value), allowed.join(", "));
    causes.push(Cause::new(CauseReason::NotSupported, path, message));
}

fn check_map(
    schema: &Schema,
    fields: &serde_json::Map<String, Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    for name in &schema.rules.required {
        if !fields.contains_key(name) {
            causes.push(Cause::new(CauseReason::Required, below(path, name), ""));
        }
    }
    check_count(
        schema.rules.properties,
        fields.len(),
        "properties",
        path,
        causes,
    );
    for (name, value) in fields {
        if let Some(inner) = schema.field(name) {
            check(inner, value, &below(path, name), causes);
        }
    }
}

fn check_list(schema: &Schema, elements: &[Value], path: &str, causes: &mut Vec<Cause>) {
    check_count(schema.rules.items, elements.len(), "items", path, causes);
    if let Some(items) = schema.items() {
        for (index, element) in elements.iter().enumerate() {
            check(items, element, &format!("{path}[{index}]"), causes);
        }
    }
    let mut known = BTreeSet::new();
    for (index, element) in elements.iter().enumerate() {
        let Some(identity) = identity(schema, element) else {
            return;
        };
        if !known.insert(identity.to_string()) {
            let place = format!("{path}[{index}]");
            causes.push(Cause::new(
                CauseReason::Duplicate,
                place,
                identity.to_string(),
            ));
        }
    }
}

/// What no two elements of a list may have in common.
fn identity(schema: &Schema, element: &Value) -> Option<Value> {
    match &schema.list_kind {
        ListKind::Atomic => None,
        ListKind::Set => Some(element.clone()),
        ListKind::Map(keys) => {
            let present = keys
                .iter()
                .filter_map(|key| Some((key.clone(), element.get(key)?.clone())));
            Some(Value::Object(present.collect()))
        }
    }
}

fn check_count(range: Range, count: usize, things: &str, path: &str, causes: &mut Vec<Cause>) {
    let exact = u64::try_from(count).unwrap_or(u64::MAX);
    if let Some(minimum) = range.minimum.filter(|minimum| exact < *minimum) {
        let complaint = format!("should have at least {minimum} {things}");
        causes.push(invalid(path, count, &complaint));
    }
    if let Some(maximum) = range.maximum.filter(|maximum| exact > *maximum) {
        let message = format!("{count}: must have at most {maximum} items");
        causes.push(Cause::new(CauseReason::TooMany, path, message));
    }
}

fn check_text(rules: &Rules, text: &str, path: &str, causes: &mut Vec<Cause>) {
    let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    if let Some(minimum) = rules.length.minimum.filter(|minimum| length < *minimum) {
        let complaint = format!("should be at least {minimum} chars long");
        causes.push(invalid(path, format!("{text:?}"), &complaint));
    }
    if let Some(maximum) = rules.length.maximum.filter(|maximum| length > *maximum) {
        let message = format!("may not be more than {maximum} bytes");
        causes.push(Cause::new(CauseReason::TooLong, path, message));
    }
    if let Some(pattern) = rules
        .pattern
        .as_ref()
        .filter(|pattern| !pattern.is_match(text))
    {
        let complaint = format!("should match '{pattern}'");
        causes.push(invalid(path, format!("{text:?}"), &complaint));
    }
}

fn check_number(rules: &Rules, number: &serde_json::Number, path: &str, causes: &mut Vec<Cause>) {
    let Some(exact) = number.as_f64() else {
        return;
    };
    let complaint = |bound: Bound, or_equal: &str, without: &str| {
        let relation = if bound.exclusive { without } else { or_equal };
        format!("should be {relation} {}", bound.value)
    };
    if let Some(minimum) = rules.minimum
        && (exact < minimum.value || minimum.exclusive && exact == minimum.value)
    {
        let complaint = complaint(minimum, "greater than or equal to", "greater than");
        causes.push(invalid(path, number, &complaint));
    }
    if let Some(maximum) = rules.maximum
        && (exact > maximum.value || maximum.exclusive && exact == maximum.value)
    {
        let complaint = complaint(maximum, "less than or equal to", "less than");
        causes.push(invalid(path, number, &complaint));
    }
    if let Some(factor) = rules
        .multiple_of
        .filter(|factor| !is_multiple(exact, *factor))
    {
        causes.push(invalid(
            path,
            number,
            &format!("should be a multiple of {factor}"),
        ));
    }
}

/// As nearly as fractions can tell: 0.3 is a multiple of 0.1.
fn is_multiple(number: f64, factor: f64) -> bool {
    const TOLERANCE: f64 = 1e-9;
    let quotient = number / factor;
    (quotient - quotient.round()).abs() <= TOLERANCE * quotient.abs().max(1.0)
}

fn check_format(rules: &Rules, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(format) = rules.format.filter(|format| !format.accepts(value)) {
        let complaint = format!("must be of type {}: {value}", format.name());
        causes.push(invalid(path, value, &complaint));
    }
}

fn check_alternatives(rules: &Rules, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut complain = |complaint: &str| {
        let message = format!("\"\": {path:?} {complaint}");
        causes.push(Cause::new(CauseReason::Invalid, path, message));
    };
    let failures = |alternatives: &[Schema]| -> Vec<Vec<Cause>> {
        let tried = alternatives.iter();
        tried.map(|schema| schema.validate(value, path)).collect()
    };
    // The alternative that nearly fits tells most.
    let closest = |failures: Vec<Vec<Cause>>| failures.into_iter().min_by_key(Vec::len);
    let mut details = Vec::new();
    let all: Vec<Cause> = failures(&rules.all_of).into_iter().flatten().collect();
    if !all.is_empty() {
        complain("must validate all the schemas (allOf)");
        details.extend(all);
    }
    let any = failures(&rules.any_of);
    if !any.is_empty() && any.iter().all(|failures| !failures.is_empty()) {
        complain("must validate at least one schema (anyOf)");
        details.extend(closest(any).into_iter().flatten());
    }
    let one = failures(&rules.one_of);
    match one.iter().filter(|failures| failures.is_empty()).count() {
        0 if !one.is_empty() => {
            complain("must validate one and only one schema (oneOf). Found none valid");
            details.extend(closest(one).into_iter().flatten());
        }
        0 | 1 => {}
        several => complain(&format!(
            "must validate one and only one schema (oneOf). Found {several} valid alternatives"
        )),
    }
    if rules.not.as_ref().is_some_and(|not| not.accepts(value)) {
        complain("must not validate the schema (not)");
    }
    causes.extend(details);
}
