//! Every object is reached from every other by a patch, made as kubectl does.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The patch from one object to another.
fn difference(from: &Map<String, Value>, to: &Map<String, Value>, name: &str) -> Value {
    let mut patch = json!({});
    for field in from.keys().filter(|field| !to.contains_key(*field)) {
        patch[field] = Value::Null;
    }
    for (field, after) in to {
        match (from.get(field), after) {
            (Some(before), after) if before == after => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                patch[field] = difference(before, after, field);
            }
            (Some(Value::Array(before)), Value::Array(after)) => {
                list_difference(&mut patch, field, list_kind(name, field), before, after);
            }
            (_, after) => patch[field] = after.clone(),
        }
    }
    patch
}

fn list_difference(
    patch: &mut Value,
    field: &str,
    kind: ListKind,
    before: &[Value],
    after: &[Value],
) {
    let key = match kind {
        ListKind::Map(key) => key,
        ListKind::Set => {
            let gone = before.iter().filter(|element| !after.contains(element));
            patch[format!("{DELETE_FROM}{field}")] = gone.cloned().collect();
            patch[format!("{SET_ORDER}{field}")] = after.into();
            let new = after.iter().filter(|element| !before.contains(element));
            patch[field] = new.cloned().collect();
            return;
        }
        ListKind::Atomic => {
            patch[field] = after.into();
            return;
        }
    };
    let find = |list: &[Value], wanted: &Value| {
        list.iter()
            .find(|element| element[key] == wanted[key])
            .cloned()
    };
    let mut elements = Vec::new();
    for element in after {
        let mut change = match (find(before, element), element) {
            (Some(Value::Object(before)), Value::Object(after)) => {
                difference(&before, after, field)
            }
            _ => element.clone(),
        };
        change[key] = element[key].clone();
        elements.push(change);
    }
    for element in before
        .iter()
        .filter(|element| find(after, element).is_none())
    {
        elements.push(json!({key: element[key], PATCH: "delete"}));
    }
    patch[field] = elements.into();
    let order = after.iter().map(|element| json!({key: element[key]}));
    patch[format!("{SET_ORDER}{field}")] = order.collect();
}

fn named(name: &'static str) -> impl Strategy<Value = Vec<Value>> {
    let element =
        ("[a-d]", "[01]").prop_map(move |(key, value)| json!({name: key, "value": value}));
    proptest::collection::vec(element, 0..4).prop_map(move |mut elements| {
        let mut seen = std::collections::BTreeSet::new();
        elements.retain(|element| seen.insert(element[name].to_string()));
        elements
    })
}

/// A Deployment with lists of each kind, in any order.
fn any_object() -> impl Strategy<Value = Value> {
    let containers = (
        named("name"),
        named("name"),
        named("mountPath"),
        any::<bool>(),
    );
    let finalizers = proptest::sample::subsequence(vec!["a", "b", "c"], 0..=3).prop_shuffle();
    let labels = proptest::collection::btree_map("[a-c]", "[01]", 0..3);
    (containers, finalizers, labels).prop_map(|(containers, finalizers, labels)| {
        let (mut containers, env, mounts, full) = containers;
        for container in containers.iter_mut().filter(|_| full) {
            container["env"] = env.clone().into();
            container["volumeMounts"] = mounts.clone().into();
            container["args"] = mounts.clone().into();
        }
        json!({
            "metadata": {"labels": labels, "finalizers": finalizers},
            "spec": {"template": {"spec": {"containers": containers}}},
        })
    })
}

proptest! {
    #[test]
    fn the_difference_leads_from_one_object_to_the_other(from in any_object(), to in any_object()) {
        let (Value::Object(before), Value::Object(after)) = (&from, &to) else {
            return Err(TestCaseError::fail("no objects"));
        };
        let patch = difference(before, after, "");
        prop_assert!(check(&patch).is_ok(), "{:?} {}", check(&patch), patch);
        let mut reached = from.clone();
        strategic_merge(&mut reached, &patch);
        prop_assert_eq!(reached, to, "{}", patch);
    }
}
