//! When two pod templates are the same, and the short name of one.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use super::TEMPLATE_HASH;
use crate::quantity::Quantity;

const HASH_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Fields of a pod for which an absent value and this one mean the same.
const ABSENT_WHEN_FALSE: [&str; 7] = [
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "readOnly",
    "stdin",
    "stdinOnce",
    "tty",
];
/// Fields which hold quantities by name.
const QUANTITIES: [&str; 3] = ["limits", "overhead", "requests"];

/// A template without what makes no difference: the hash label, empty fields,
/// other ways to write the same quantity.
pub(super) fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(TEMPLATE_HASH);
    }
    without_empty(value)
}

fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let value = match QUANTITIES.contains(&name.as_str()) {
                    true => with_plain_quantities(value),
                    false => without_empty(value),
                };
                (name, value)
            });
            Value::Object(
                fields
                    .filter(|(name, value)| !is_absent(name, value))
                    .collect(),
            )
        }
        Value::Array(elements) => elements.into_iter().map(without_empty).collect(),
        plain => plain,
    }
}

fn is_absent(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Bool(value) => !value && ABSENT_WHEN_FALSE.contains(&name),
        // Of a variable: labels and annotations may well be empty.
        Value::String(text) => text.is_empty() && name == "value",
        Value::Number(_) => false,
    }
}

fn with_plain_quantities(mut value: Value) -> Value {
    let amounts = value.as_object_mut().into_iter().flatten();
    for (_, amount) in amounts {
        if let Some(quantity) = amount.as_str().and_then(Quantity::parse) {
            *amount = quantity.to_string().into();
        }
    }
    value
}

/// A short name for a template: FNV-1a, written without vowels. `collisions`
/// tells how often the name turned out to be taken.
pub(super) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let mut text = canonical(template).to_string();
    if collisions > 0 {
        text.push_str(&collisions.to_string());
    }
    let mut hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let base = 27;
    let mut name = String::new();
    while hash > 0 {
        name.push(char::from(HASH_ALPHABET[(hash % base) as usize]));
        hash /= base;
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(container: &Value, spec: &Value) -> PodTemplateSpec {
        let mut template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c"}]},
        });
        json_patch::merge(&mut template["spec"]["containers"][0], container);
        json_patch::merge(&mut template["spec"], spec);
        serde_json::from_value(template).unwrap()
    }

    fn same(one: &Value, other: &Value) -> bool {
        let [one, other] = [one, other].map(|container| template(container, &json!({})));
        (canonical(&one) == canonical(&other)) && (hash(&one, 0) == hash(&other, 0))
    }

    #[test]
    fn another_way_to_write_the_same_is_no_change() {
        let pairs = [
            (
                json!({"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}}),
                json!({"resources": {"requests": {"cpu": "0.1", "memory": "1024Mi"}}}),
            ),
            (json!({"args": []}), json!({})),
            (json!({"resources": {}}), json!({})),
            (json!({"tty": false}), json!({})),
            (
                json!({"env": [{"name": "A", "value": ""}]}),
                json!({"env": [{"name": "A"}]}),
            ),
        ];
        for (one, other) in pairs {
            assert!(same(&one, &other), "{one} {other}");
        }
    }

    #[test]
    fn what_makes_a_difference_is_a_change() {
        let pairs = [
            (
                json!({"resources": {"requests": {"cpu": "100m"}}}),
                json!({"resources": {"requests": {"cpu": "0.2"}}}),
            ),
            (
                json!({"securityContext": {"runAsUser": 0}}),
                json!({"securityContext": {}}),
            ),
            (
                json!({"env": [{"name": "A", "value": ""}]}),
                json!({"env": []}),
            ),
            (
                json!({"env": [{"name": "A", "value": "100m"}]}),
                json!({"env": [{"name": "A", "value": "0.1"}]}),
            ),
        ];
        for (one, other) in pairs {
            assert!(!same(&one, &other), "{one} {other}");
        }
        let mut labelled = template(&json!({}), &json!({}));
        let labels = labelled.metadata.get_or_insert_default();
        labels
            .labels
            .get_or_insert_default()
            .insert("x".to_owned(), String::new());
        let plain = template(&json!({}), &json!({}));
        assert_ne!(canonical(&labelled), canonical(&plain));
    }

    #[test]
    fn a_taken_name_is_not_proposed_again() {
        let template = template(&json!({}), &json!({}));
        assert_ne!(hash(&template, 0), hash(&template, 1));
    }
}
