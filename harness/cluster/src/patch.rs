//! Strategic merge: the patch which knows that some lists are maps.
//!
//! JSON Patch (with bounds, in `json`) and JSON merge patch come from the
//! `json-patch` crate.

mod check;
mod json;
#[cfg(test)]
mod round_trip;

use serde_json::{Map, Value};

pub(crate) use check::check;
pub(crate) use json::{PatchError, json};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// How the elements of a list are told apart.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum ListKind {
    /// Objects known by the value of this field.
    Map(&'static str),
    /// A set of plain values.
    Set,
    /// One value, replaced as a whole.
    Atomic,
}

/// Merges a Kubernetes strategic merge patch into `base`: maps are merged, null
/// removes, lists of named things are merged by name, other lists are replaced.
/// The directives `$patch`, `$retainKeys`, `$setElementOrder/…` and
/// `$deleteFromPrimitiveList/…` are obeyed.
pub fn strategic_merge(base: &mut Value, patch: &Value) {
    // Of all selectors that of a disruption budget alone is replaced as a whole.
    if base["kind"] == "PodDisruptionBudget"
        && patch.pointer("/spec/selector").is_some()
        && let Some(Value::Object(spec)) = base.get_mut("spec")
    {
        spec.remove("selector");
    }
    merge_value(base, patch, "");
}

/// The list at `field` inside the object (or list of objects) called `parent`.
pub(crate) fn list_kind(parent: &str, field: &str) -> ListKind {
    match (parent, field) {
        ("containers" | "initContainers" | "ephemeralContainers", "ports") => {
            ListKind::Map("containerPort")
        }
        ("spec", "ports") => ListKind::Map("port"),
        (
            "spec",
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "volumes"
            | "imagePullSecrets"
            | "resourceClaims"
            | "schedulingGates",
        )
        | ("containers" | "initContainers" | "ephemeralContainers", "env") => ListKind::Map("name"),
        ("containers" | "initContainers" | "ephemeralContainers", "volumeMounts") => {
            ListKind::Map("mountPath")
        }
        ("containers" | "initContainers" | "ephemeralContainers", "volumeDevices") => {
            ListKind::Map("devicePath")
        }
        ("spec", "hostAliases") | ("status", "podIPs" | "hostIPs") => ListKind::Map("ip"),
        ("spec", "topologySpreadConstraints") => ListKind::Map("topologyKey"),
        ("status", "conditions" | "addresses") => ListKind::Map("type"),
        ("metadata", "ownerReferences") => ListKind::Map("uid"),
        ("metadata", "finalizers") | ("spec", "podCIDRs") => ListKind::Set,
        _ => ListKind::Atomic,
    }
}

fn merge_value(base: &mut Value, patch: &Value, name: &str) {
    let Value::Object(patch) = patch else {
        *base = patch.clone();
        return;
    };
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    if let Value::Object(base) = base {
        merge_map(base, patch, name);
    }
}

fn merge_map(base: &mut Map<String, Value>, patch: &Map<String, Value>, name: &str) {
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("replace") => {
            *base = without_directives(patch);
            return;
        }
        Some("delete") => {
            base.clear();
            return;
        }
        _ => {}
    }
    if let Some(Value::Array(retained)) = patch.get(RETAIN_KEYS) {
        base.retain(|key, _| retained.iter().any(|retained| retained == key));
    }
    for (field, removed) in directives(patch, DELETE_FROM) {
        if let Some(Value::Array(list)) = base.get_mut(field) {
            list.retain(|element| !removed.contains(element));
        }
    }
    for (field, value) in patch.iter().filter(|(field, _)| !field.starts_with('$')) {
        match value {
            Value::Null => {
                base.remove(field);
            }
            Value::Array(elements) => {
                let list = base
                    .entry(field.clone())
                    .or_insert_with(|| Value::Array(Vec::new()));
                merge_list(list, elements, field, list_kind(name, field));
            }
            value => {
                let present = base.entry(field.clone()).or_insert(Value::Null);
                merge_value(present, value, field);
            }
        }
    }
    for (field, order) in directives(patch, SET_ORDER) {
        if let Some(Value::Array(list)) = base.get_mut(field) {
            sort_by_order(list, order, list_kind(name, field));
        }
    }
}

/// The fields addressed by the directives with this prefix, with their lists.
fn directives<'a>(
    patch: &'a Map<String, Value>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, &'a [Value])> {
    patch.iter().filter_map(move |(key, value)| {
        Some((key.strip_prefix(prefix)?, value.as_array()?.as_slice()))
    })
}

fn merge_list(list: &mut Value, patch: &[Value], name: &str, kind: ListKind) {
    let replaces = patch.iter().any(|element| element[PATCH] == "replace");
    let Value::Array(list) = list else {
        *list = Value::Array(Vec::new());
        return merge_list(list, patch, name, kind);
    };
    match kind {
        _ if replaces => {
            let elements = patch.iter().filter(|element| element[PATCH] != "replace");
            *list = elements.map(clean).collect();
        }
        ListKind::Map(key) => patch
            .iter()
            .for_each(|element| merge_element(list, element, name, key)),
        ListKind::Set => {
            for element in patch {
                if !list.contains(element) {
                    list.push(element.clone());
                }
            }
        }
        ListKind::Atomic => *list = patch.iter().map(clean).collect(),
    }
}

fn merge_element(list: &mut Vec<Value>, patch: &Value, name: &str, key: &str) {
    let same = |element: &Value| element[key] == patch[key];
    if patch[PATCH] == "delete" {
        list.retain(|element| !same(element));
        return;
    }
    match list.iter_mut().find(|element| same(element)) {
        Some(element) => merge_value(element, patch, name),
        None => {
            let mut element = Value::Object(Map::new());
            merge_value(&mut element, patch, name);
            list.push(element);
        }
    }
}

/// Puts the listed elements into the given order. Elements which the order does
/// not know stay behind the known element which they followed.
fn sort_by_order(list: &mut [Value], order: &[Value], kind: ListKind) {
    let place = |element: &Value| match kind {
        ListKind::Map(key) => order
            .iter()
            .position(|ordered| ordered[key] == element[key]),
        ListKind::Set | ListKind::Atomic => order.iter().position(|ordered| ordered == element),
    };
    let mut latest = 0;
    let mut places: Vec<(usize, Value)> = Vec::with_capacity(list.len());
    for element in list.iter() {
        latest = place(element).unwrap_or(latest);
        places.push((latest, element.clone()));
    }
    places.sort_by_key(|(place, _)| *place);
    for (slot, (_, element)) in list.iter_mut().zip(places) {
        *slot = element;
    }
}

/// A value of a patch as it is stored where nothing was before.
fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(list) => Value::Array(list.iter().map(clean).collect()),
        plain => plain.clone(),
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
        .map(|(key, value)| (key.clone(), clean(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut base: Value, patch: &Value) -> Value {
        strategic_merge(&mut base, patch);
        base
    }

    fn pod_spec(containers: &Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn what_is_absent_passes_a_test_for_null() {
        let operations = json!([
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": ["x"]},
        ]);
        let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
        let mut object = json!({"metadata": {}});
        json(&mut object, &patch).unwrap();
        assert_eq!(object, json!({"metadata": {"finalizers": ["x"]}}));
        json(&mut object, &patch).unwrap_err();
    }

    #[test]
    fn maps_merge_and_null_removes() {
        let base = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
        let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}}});
        assert_eq!(
            merged(base, &patch),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}}})
        );
    }

    #[test]
    fn each_list_merges_by_its_own_key() {
        let cases = [
            ("containers", "name"),
            ("volumes", "name"),
            ("hostAliases", "ip"),
            ("topologySpreadConstraints", "topologyKey"),
            ("ports", "port"),
        ];
        for (field, key) in cases {
            let base = json!({"spec": {field: [{key: "a", "x": 1}, {key: "b", "x": 2}]}});
            let patch = json!({"spec": {field: [{key: "b", "y": 3}, {key: "c"}]}});
            let expected = json!({"spec": {field: [{key: "a", "x": 1}, {key: "b", "x": 2, "y": 3}, {key: "c"}]}});
            assert_eq!(merged(base, &patch), expected, "{field}");
        }
    }

    #[test]
    fn lists_inside_containers_merge_too() {
        for (field, key) in [
            ("env", "name"),
            ("ports", "containerPort"),
            ("volumeMounts", "mountPath"),
        ] {
            let base = pod_spec(&json!([{"name": "c", field: [{key: "a", "x": 1}]}]));
            let patch = pod_spec(&json!([{"name": "c", field: [{key: "b"}]}]));
            let expected =
                pod_spec(&json!([{"name": "c", field: [{key: "a", "x": 1}, {key: "b"}]}]));
            assert_eq!(merged(base, &patch), expected, "{field}");
        }
    }

    #[test]
    fn other_lists_are_replaced() {
        let base = pod_spec(&json!([{"name": "c", "args": ["a", "b"]}]));
        let patch = pod_spec(&json!([{"name": "c", "args": ["c"]}]));
        assert_eq!(merged(base, &patch), patch);
        let addresses = json!({"endpoints": [{"addresses": ["127.0.0.1"]}]});
        assert_eq!(
            merged(
                json!({"endpoints": [{"addresses": ["127.0.0.2"]}]}),
                &addresses
            ),
            addresses
        );
    }

    #[test]
    fn sets_grow_and_shrink_by_element() {
        let base = json!({"metadata": {"finalizers": ["a", "b"]}});
        let patch = json!({"metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "finalizers": ["b", "c"],
        }});
        assert_eq!(
            merged(base, &patch),
            json!({"metadata": {"finalizers": ["b", "c"]}})
        );
    }

    #[test]
    fn an_element_is_deleted_by_directive() {
        let base = pod_spec(&json!([{"name": "a"}, {"name": "b"}]));
        let patch = pod_spec(&json!([{"name": "a", "$patch": "delete"}]));
        assert_eq!(merged(base, &patch), pod_spec(&json!([{"name": "b"}])));
    }

    #[test]
    fn a_map_or_list_is_replaced_by_directive() {
        let base = json!({"spec": {"containers": [{"name": "a"}], "selector": {"a": "1"}}});
        let patch = json!({"spec": {
            "containers": [{"name": "b"}, {"$patch": "replace"}],
            "selector": {"$patch": "replace", "b": "2"},
        }});
        let expected = json!({"spec": {"containers": [{"name": "b"}], "selector": {"b": "2"}}});
        assert_eq!(merged(base, &patch), expected);
    }

    #[test]
    fn the_selector_of_a_disruption_budget_is_replaced() {
        let selector = |labels: Value| json!({"spec": {"selector": {"matchLabels": labels}}});
        let patch = selector(json!({"b": "2"}));
        for (kind, left) in [
            ("PodDisruptionBudget", json!({"b": "2"})),
            ("ReplicaSet", json!({"a": "1", "b": "2"})),
        ] {
            let mut base = selector(json!({"a": "1"}));
            base["kind"] = kind.into();
            let reached = merged(base, &patch);
            assert_eq!(reached["spec"]["selector"]["matchLabels"], left, "{kind}");
        }
    }

    #[test]
    fn retained_keys_are_the_only_ones_left() {
        let base = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
        assert_eq!(
            merged(base, &patch),
            json!({"spec": {"strategy": {"type": "Recreate"}}})
        );
    }

    #[test]
    fn elements_follow_the_order_of_the_directive() {
        let base = pod_spec(&json!([{"name": "a"}, {"name": "sidecar"}, {"name": "b"}]));
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "new"}],
            "containers": [{"name": "new"}],
        }});
        let result = merged(base, &patch);
        let names: Vec<_> = result["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["name"])
            .collect();
        assert_eq!(names, ["b", "a", "sidecar", "new"]);
    }

    #[test]
    fn a_patch_for_something_absent_leaves_no_directives() {
        let patch = json!({"spec": {"template": {"$retainKeys": ["x"], "x": {"$patch": "merge", "y": 1, "z": null}}}});
        assert_eq!(
            merged(json!({}), &patch),
            json!({"spec": {"template": {"x": {"y": 1}}}})
        );
    }
}
