use proptest::prelude::*;
use serde_json::json;

use super::*;

const ONE: &str = "one";
const TWO: &str = "two";

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn writer<'a>(resource: &'a Resource, manager: &'a str, second: i64) -> Writer<'a> {
    Writer::new(resource, "", manager, time(second))
}

/// What an apply leaves, without defaults.
fn applied_by(
    live: &Value,
    config: &Value,
    manager: &'static str,
    conflicts: Conflicts,
) -> Result<Value, Vec<Conflict>> {
    let writer = writer(&Resource::Deployments, manager, 0);
    let applied = apply(live, config, &writer, conflicts)?;
    let mut object = applied.object.clone();
    applied.record(live, &mut object, &writer);
    Ok(object)
}

fn apply_as(manager: &'static str, live: &Value, config: &Value) -> Value {
    applied_by(live, config, manager, Conflicts::Refuse).unwrap()
}

fn conflicts_of(live: &Value, config: &Value, manager: &'static str) -> Vec<String> {
    let conflicts = applied_by(live, config, manager, Conflicts::Refuse).unwrap_err();
    let paths = |conflict: &Conflict| -> Vec<String> {
        let paths = conflict.fields.paths().into_iter();
        paths
            .map(|path| format!("{} {path}", conflict.manager))
            .collect()
    };
    conflicts.iter().flat_map(paths).collect()
}

fn updated_by(manager: &'static str, before: &Value, change: impl Fn(&mut Value)) -> Value {
    let mut after = before.clone();
    change(&mut after);
    record_update(
        before,
        &mut after,
        &writer(&Resource::Deployments, manager, 1),
    );
    after
}

/// The fields of a manager, as `managedFields` writes them.
fn fields_managed_by(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array();
    let entry = entries
        .into_iter()
        .flatten()
        .find(|entry| entry["manager"] == manager);
    entry.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

fn map(data: &Value) -> Value {
    json!({"metadata": {"name": "x"}, "data": data})
}

fn pod_template(containers: &Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}

fn containers(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]["containers"]
}

#[test]
fn an_applier_owns_what_it_sends_and_nothing_else() {
    let config = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}, "finalizers": ["a/b"]},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {},
            "template": {"spec": {"containers": [
                {"name": "c", "args": ["x"], "ports": [{"containerPort": 80}]},
            ]}},
        },
        "status": {"replicas": 1},
    });
    let object = apply_as(ONE, &Value::Null, &config);
    let expected = json!({
        "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}}},
        "f:spec": {
            "f:selector": {},
            "f:strategy": {},
            "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                ".": {},
                "f:name": {},
                "f:args": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                    ".": {}, "f:containerPort": {},
                }},
            }}}},
        },
    });
    assert_eq!(fields_managed_by(&object, ONE), expected);
    assert!(object.get("status").is_none());
}

#[test]
fn a_creator_owns_what_it_made_with_the_maps_and_lists() {
    let object = updated_by(ONE, &Value::Null, |object| {
        *object = json!({
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"strategy": {"rollingUpdate": {"maxSurge": 1}}, "template": {"spec": {
                "containers": [{"name": "c", "env": [{"name": "A"}]}],
            }}},
            "status": {"replicas": 0},
        });
    });
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
            "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                ".": {},
                "f:name": {},
                "f:env": {".": {}, "k:{\"name\":\"A\"}": {".": {}, "f:name": {}}},
            }}}},
        },
    });
    assert_eq!(fields_managed_by(&object, ONE), expected);
}

#[test]
fn what_a_manager_drops_is_removed_unless_another_keeps_it() {
    let live = apply_as(ONE, &Value::Null, &map(&json!({"a": "1", "b": "2"})));
    let live = apply_as(TWO, &live, &map(&json!({"b": "2"})));
    let live = apply_as(ONE, &live, &map(&json!({})));
    assert_eq!(live["data"], json!({"b": "2"}));
    let live = apply_as(TWO, &live, &json!({"metadata": {"name": "x"}}));
    assert!(live.get("data").is_none(), "{live}");
}

#[test]
fn another_value_is_a_conflict_until_forced() {
    let live = apply_as(ONE, &Value::Null, &map(&json!({"a": "1", "b": "1"})));
    let other = map(&json!({"a": "2", "b": "1"}));
    assert_eq!(conflicts_of(&live, &other, TWO), ["\"one\" .data.a"]);
    let live = applied_by(&live, &other, TWO, Conflicts::TakeOver).unwrap();
    assert_eq!(live["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(
        fields_managed_by(&live, ONE),
        json!({"f:data": {"f:b": {}}})
    );
    assert_eq!(
        fields_managed_by(&live, TWO),
        json!({"f:data": {"f:a": {}, "f:b": {}}})
    );
}

#[test]
fn an_update_takes_the_fields_it_changes_and_ends_the_ownership_of_what_it_removes() {
    let live = apply_as(
        ONE,
        &Value::Null,
        &map(&json!({"a": "1", "b": "2", "c": "3"})),
    );
    let live = updated_by("editor", &live, |object| {
        object["data"] = json!({"a": "9", "c": "3"});
    });
    assert_eq!(
        fields_managed_by(&live, ONE),
        json!({"f:data": {"f:c": {}}})
    );
    assert_eq!(
        fields_managed_by(&live, "editor"),
        json!({"f:data": {"f:a": {}}})
    );
    let again = map(&json!({"a": "1"}));
    assert_eq!(
        conflicts_of(&live, &again, ONE),
        ["\"editor\" using apps/v1 .data.a"]
    );
}

#[test]
fn a_dropped_map_takes_its_defaults_along() {
    let container = |probe: Value| {
        let mut container = json!({"name": "c"});
        if !probe.is_null() {
            container["readinessProbe"] = probe;
        }
        pod_template(&json!([container]))
    };
    let mut live = apply_as(
        ONE,
        &Value::Null,
        &container(json!({"tcpSocket": {"port": 1}})),
    );
    live.pointer_mut("/spec/template/spec/containers/0/readinessProbe")
        .unwrap()["periodSeconds"] = 10.into();
    let live = apply_as(ONE, &live, &container(Value::Null));
    assert_eq!(containers(&live), &json!([{"name": "c"}]));
}

#[test]
fn elements_of_lists_are_managed_one_by_one() {
    let port = |number: u16, protocol: &str| json!({"containerPort": number, "protocol": protocol});
    let config = |ports: Value| pod_template(&json!([{"name": "a", "ports": ports}]));
    let live = apply_as(
        ONE,
        &Value::Null,
        &config(json!([port(1, "TCP"), port(1, "UDP"), {"containerPort": 2}])),
    );
    let live = apply_as(
        TWO,
        &live,
        &pod_template(&json!([{"name": "b", "image": "x"}])),
    );
    let live = apply_as(ONE, &live, &config(json!([port(1, "UDP"), port(2, "TCP")])));
    assert_eq!(
        containers(&live)[0]["ports"],
        json!([port(1, "UDP"), port(2, "TCP")])
    );
    let live = apply_as(ONE, &live, &pod_template(&json!([])));
    assert_eq!(containers(&live), &json!([{"name": "b", "image": "x"}]));
}

#[test]
fn selectors_are_one_value() {
    let selector = |labels: Value| json!({"spec": {"selector": {"matchLabels": labels}}});
    let live = apply_as(ONE, &Value::Null, &selector(json!({"a": "1"})));
    let other = selector(json!({"a": "1", "b": "2"}));
    assert_eq!(conflicts_of(&live, &other, TWO), ["\"one\" .spec.selector"]);
    let live = apply_as(ONE, &live, &selector(json!({"b": "2"})));
    assert_eq!(live["spec"]["selector"]["matchLabels"], json!({"b": "2"}));
}

#[test]
fn applied_elements_come_in_their_order_among_the_others() {
    let names = |names: &[&str]| -> Value {
        let containers = names.iter().map(|name| json!({"name": name}));
        pod_template(&containers.collect())
    };
    let live = updated_by(ONE, &Value::Null, |object| {
        *object = names(&["a", "x", "b"])
    });
    let live = apply_as(TWO, &live, &names(&["b", "new", "a"]));
    assert_eq!(
        containers(&live),
        containers(&names(&["b", "x", "new", "a"]))
    );
}

#[test]
fn the_time_changes_with_the_fields_only() {
    let config = map(&json!({"a": "1"}));
    let apply_at = |live: &Value, second| {
        let writer = writer(&Resource::ConfigMaps, ONE, second);
        let applied = apply(live, &config, &writer, Conflicts::Refuse).unwrap();
        let mut object = applied.object.clone();
        applied.record(live, &mut object, &writer);
        object
    };
    let first = apply_at(&Value::Null, 0);
    assert_eq!(apply_at(&first, 5), first);
    let mut cut = first.clone();
    cut["metadata"]["managedFields"][0]["fieldsV1"] = json!({});
    assert_ne!(
        apply_at(&cut, 5)["metadata"]["managedFields"][0]["time"],
        first["metadata"]["managedFields"][0]["time"]
    );
}

#[test]
fn nobody_is_on_record_after_a_reset_until_somebody_applies() {
    for reset in [json!([]), json!([{}])] {
        let live = apply_as(ONE, &Value::Null, &map(&json!({"a": "1"})));
        let live = updated_by(TWO, &live, |object| {
            object["metadata"]["managedFields"] = reset.clone();
        });
        assert!(live["metadata"].get("managedFields").is_none());
        let live = updated_by(TWO, &live, |object| object["data"]["b"] = "2".into());
        assert!(live["metadata"].get("managedFields").is_none());
        let refused = conflicts_of(&live, &map(&json!({"a": "3"})), ONE);
        assert_eq!(refused, ["\"before-first-apply\" using apps/v1 .data.a"]);
    }
}

#[test]
fn managers_which_are_none_are_refused() {
    let with = |entry: Value| json!({"metadata": {"managedFields": [entry]}});
    let wrong = [
        (json!({"operation": "Eat"}), "operation"),
        (
            json!({"operation": "Apply", "fieldsType": "V2"}),
            "fieldsType",
        ),
        (
            json!({"operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"a": {}}}),
            "fieldsV1",
        ),
    ];
    for (entry, field) in wrong {
        assert_eq!(check(&with(entry)).unwrap_err().field, field);
    }
    assert!(check(&with(json!({}))).is_ok());
}

#[test]
fn of_too_many_updaters_the_oldest_become_one() {
    let mut live = json!({"metadata": {"name": "x"}, "data": {}});
    record_update(
        &Value::Null,
        &mut live,
        &writer(&Resource::ConfigMaps, ONE, 0),
    );
    for number in 1..30_i64 {
        let manager = format!("m{number}");
        let mut after = live.clone();
        after["data"][&manager] = "1".into();
        let writer = Writer::new(&Resource::ConfigMaps, "", &manager, time(number));
        record_update(&live, &mut after, &writer);
        live = after;
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), MAX_UPDATERS);
    assert_eq!(entries[0]["manager"], ANCIENT_CHANGES);
    assert_eq!(entries.last().unwrap()["manager"], "m29");
    let fields = fields_managed_by(&live, ANCIENT_CHANGES);
    assert!(fields["f:data"].get("f:m1").is_some(), "{fields}");
}

#[test]
fn lists_whose_elements_cannot_be_told_apart_are_found() {
    let malformed =
        |containers: &Value| malformed_list(&Resource::Deployments, &pod_template(containers));
    assert_eq!(malformed(&json!([{"name": "a"}, {"name": "b"}])), None);
    assert_eq!(
        malformed(&json!([{"name": "a"}, {"name": "a"}])).unwrap(),
        ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]"
    );
    let nameless = malformed(&json!([{"name": "a", "env": [{"value": "1"}]}])).unwrap();
    assert!(
        nameless.contains("containers[name=\"a\"].env"),
        "{nameless}"
    );
}

/// Any JSON, with names that mean something now and then.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("spec"),
        Just("metadata"),
        Just("containers"),
        Just("ports"),
        Just("name"),
        Just("finalizers"),
        Just("selector"),
        Just("containerPort"),
        Just("status"),
        Just("conditions"),
        Just("type"),
        Just("managedFields"),
        Just("template"),
        Just("x"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i32).prop_map(Value::from),
        "[ab]{0,1}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Deployments as they come: containers with some fields, labels, replicas.
fn any_deployment() -> impl Strategy<Value = Value> {
    let env = proptest::collection::btree_map("[a-c]", "[01]", 0..3);
    let container = (proptest::option::of("[xy]"), env).prop_map(|(image, env)| {
        let env: Vec<_> = env
            .into_iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let mut container = json!({});
        if let Some(image) = image {
            container["image"] = image.into();
        }
        if !env.is_empty() {
            container["env"] = env.into();
        }
        container
    });
    let containers = proptest::collection::btree_map("[a-c]", container, 0..3);
    let labels = proptest::collection::btree_map("[a-c]", "[01]", 0..3);
    let replicas = proptest::option::of(0..3_i32);
    (containers, labels, replicas).prop_map(|(containers, labels, replicas)| {
        let mut object = json!({"metadata": {"name": "web"}});
        if !labels.is_empty() {
            object["metadata"]["labels"] = json!(labels);
        }
        if let Some(replicas) = replicas {
            object["spec"]["replicas"] = replicas.into();
        }
        if !containers.is_empty() {
            let named = containers.into_iter().map(|(name, mut container)| {
                container["name"] = name.into();
                container
            });
            object["spec"]["template"]["spec"]["containers"] = named.collect();
        }
        object
    })
}

/// The object without the record of its managers.
fn without_managers(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// Whether all managed fields are there.
fn managed_fields_exist(object: &Value) -> bool {
    let root = Place::root(&Resource::Deployments);
    let present = compare(root, &Value::Null, object).added;
    let managed = entries(&object["metadata"]["managedFields"]).unwrap();
    managed
        .iter()
        .all(|entry| entry.fields.difference(&present).is_empty())
}

proptest! {
    #[test]
    fn applying_again_changes_nothing(live in any_deployment(), config in any_deployment()) {
        let live = updated_by(TWO, &Value::Null, |object| *object = live.clone());
        let once = applied_by(&live, &config, ONE, Conflicts::TakeOver).unwrap();
        let twice = applied_by(&once, &config, ONE, Conflicts::Refuse).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn what_only_one_manager_applied_is_gone_when_it_applies_nothing(config in any_deployment()) {
        let nothing = json!({"metadata": {"name": "web"}});
        let before = updated_by(TWO, &Value::Null, |object| *object = nothing.clone());
        let applied = apply_as(ONE, &before, &config);
        let after = apply_as(ONE, &applied, &nothing);
        prop_assert_eq!(without_managers(after), nothing);
    }

    #[test]
    fn managed_fields_are_there(
        objects in proptest::collection::vec((any_deployment(), any::<bool>(), any::<bool>()), 1..6),
    ) {
        let mut live = Value::Null;
        for (object, applies, first) in objects {
            let manager = if first { ONE } else { TWO };
            live = if applies {
                applied_by(&live, &object, manager, Conflicts::TakeOver).unwrap()
            } else {
                let managers = live["metadata"]["managedFields"].clone();
                updated_by(manager, &live, |live| {
                    *live = object.clone();
                    live["metadata"]["managedFields"] = managers.clone();
                })
            };
            prop_assert!(managed_fields_exist(&live), "{}", live);
        }
    }

    #[test]
    fn managers_of_different_fields_never_conflict(
        one in proptest::collection::btree_map("[a-c]", "[01]", 0..4),
        two in proptest::collection::btree_map("[d-f]", "[01]", 0..4),
    ) {
        let config = |data: &std::collections::BTreeMap<String, String>| {
            let env: Vec<_> = data.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let mut config = pod_template(&json!([{"name": "c", "env": env}]));
            config["metadata"] = json!({"labels": data});
            config
        };
        let live = apply_as(ONE, &Value::Null, &config(&one));
        let live = apply_as(TWO, &live, &config(&two));
        prop_assert!(applied_by(&live, &config(&one), ONE, Conflicts::Refuse).is_ok());
        for (name, value) in one.iter().chain(&two) {
            prop_assert_eq!(&live["metadata"]["labels"][name], value);
        }
    }

    #[test]
    fn no_json_is_too_strange(before in any_json(), after in any_json(), config in any_json()) {
        for resource in &[Resource::Pods, Resource::Deployments] {
            let writer = writer(resource, ONE, 0);
            malformed_list(resource, &config);
            let changes = compare(Place::root(resource), &before, &after);
            prop_assert!(before != after || changes == Changes::default());
            if before.is_object() && config.is_object() {
                let applied = apply(&before, &config, &writer, Conflicts::TakeOver).unwrap();
                let mut stored = applied.object.clone();
                applied.record(&before, &mut stored, &writer);
                record_update(&before, &mut stored, &writer);
            }
        }
    }
}
