//! What holds between the parts of a schema: conditions speak of fields which
//! the structure names, and defaults are valid.

use super::{Additional, Rules, Schema};
use crate::cause::{Cause, CauseReason};

pub(super) fn check(schema: &Schema, path: &str, causes: &mut Vec<Cause>) {
    check_rules(&schema.rules, schema, path, path, causes);
    check_default(schema, path, causes);
    for (name, property) in &schema.properties {
        check(property, &format!("{path}.properties[{name}]"), causes);
    }
    if let Some(Additional::Of(additional)) = &schema.additional {
        check(additional, &format!("{path}.additionalProperties"), causes);
    }
    if let Some(items) = schema.items() {
        check(items, &format!("{path}.items"), causes);
    }
}

/// `path` is the place in the structure, `from` the one of the conditions.
fn check_rules(rules: &Rules, structure: &Schema, path: &str, from: &str, causes: &mut Vec<Cause>) {
    for (name, conditions) in [
        ("allOf", &rules.all_of),
        ("anyOf", &rules.any_of),
        ("oneOf", &rules.one_of),
    ] {
        for (index, condition) in conditions.iter().enumerate() {
            let from = format!("{from}.{name}[{index}]");
            check_condition(condition, structure, path, &from, causes);
        }
    }
    if let Some(condition) = &rules.not {
        check_condition(condition, structure, path, &format!("{from}.not"), causes);
    }
}

fn check_condition(
    condition: &Schema,
    structure: &Schema,
    path: &str,
    from: &str,
    causes: &mut Vec<Cause>,
) {
    check_rules(&condition.rules, structure, path, from, causes);
    let named = condition.properties.iter().map(|(name, inner)| {
        let step = format!("properties[{name}]");
        (step, inner, structure.properties.get(name))
    });
    let items = condition
        .items()
        .map(|inner| ("items".to_owned(), inner, structure.items()));
    for (step, inner, found) in named.chain(items) {
        let (path, from) = (format!("{path}.{step}"), format!("{from}.{step}"));
        match found {
            Some(found) => check_condition(inner, found, &path, &from, causes),
            None => {
                let message = format!("because it is defined in {from}");
                causes.push(Cause::new(CauseReason::Required, path, message));
            }
        }
    }
}

fn check_default(schema: &Schema, path: &str, causes: &mut Vec<Cause>) {
    let Some(default) = &schema.default else {
        return;
    };
    let path = format!("{path}.default");
    let mut whole = default.clone();
    schema.set_defaults(&mut whole);
    causes.extend(schema.validate(&whole, &path));
    if !schema.knows_all_of(default) {
        let message = format!("{default}: must not have unknown fields");
        causes.push(Cause::new(CauseReason::Invalid, path, message));
    }
}
