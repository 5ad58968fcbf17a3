//! Server-side apply: who manages which field.
//!
//! Kept simple: ownership is by the leaves of an object, and the status belongs
//! to nobody. What a manager stops to apply is removed unless someone else
//! manages it; what another one manages otherwise is a conflict.

mod fields;

use serde_json::{Value, json};

use super::error::{ApiError, Cause, CauseReason};
use crate::clock;
use crate::object::{self, text};
use fields::{Fields, agree_at, fields_of, from_json, merge, remove_at, to_json, value_at};

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// Whether an apply takes over fields which others manage.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Conflicts {
    Refuse,
    TakeOver,
}

/// The fields of one manager.
#[derive(Clone, Debug)]
struct Entry {
    manager: String,
    operation: String,
    time: String,
    fields: Fields,
}

/// An object as it is after `manager` applied `applied`, with the new ownership.
/// `live` is what is there, or an empty object.
pub(super) fn applied(
    live: &Value,
    applied: &Value,
    manager: &str,
    conflicts: Conflicts,
) -> Result<Value, ApiError> {
    let wanted = fields_of(applied);
    let mut others = entries(live);
    let position = others
        .iter()
        .position(|entry| entry.manager == manager && entry.operation == APPLY);
    let mine = position.map(|position| others.remove(position));
    let causes: Vec<Cause> = others
        .iter()
        .flat_map(|entry| contested(entry, live, applied, &wanted))
        .collect();
    if conflicts == Conflicts::Refuse && !causes.is_empty() {
        return Err(ApiError::ApplyConflict { causes });
    }
    let mut object = live.clone();
    if let Some(before) = &mine {
        let kept: Vec<&Fields> = others
            .iter()
            .map(|entry| &entry.fields)
            .chain([&wanted])
            .collect();
        for path in before.fields.difference(&wanted) {
            if let Some(dropped) = dropped(path, &kept) {
                remove_at(&mut object, dropped);
            }
        }
    }
    merge(&mut object, applied, "", "");
    for entry in &mut others {
        let differs = |path: &fields::Path| !agree_at(live, applied, path);
        entry
            .fields
            .retain(|path| !(wanted.contains(path) && differs(path)));
    }
    let time = match mine {
        Some(mine) if mine.fields == wanted => mine.time,
        _ => clock::rfc3339(clock::now()),
    };
    others.push(Entry {
        manager: manager.to_owned(),
        operation: APPLY.to_owned(),
        time,
        fields: wanted,
    });
    write(&mut object, &others);
    Ok(object)
}

/// As much of a path as nobody keeps anything below: with the last field of a
/// probe its defaults go too.
fn dropped<'a>(path: &'a [String], kept: &[&Fields]) -> Option<&'a [String]> {
    let is_kept = |prefix: &[String]| {
        kept.iter()
            .any(|fields| fields.iter().any(|path| path.starts_with(prefix)))
    };
    (1..=path.len())
        .map(|length| &path[..length])
        .find(|prefix| !is_kept(prefix))
}

/// The fields which another manager set to something else.
fn contested(entry: &Entry, live: &Value, applied: &Value, wanted: &Fields) -> Vec<Cause> {
    let both = entry.fields.intersection(wanted);
    both.filter(|path| value_at(live, path).is_some() && !agree_at(live, applied, path))
        .map(|path| {
            let message = format!(
                "conflict with {:?} using {}",
                entry.manager,
                text(live, "/apiVersion")
            );
            Cause::new(CauseReason::ManagerConflict, field_path(path), message)
        })
        .collect()
}

/// `.spec.template.spec.containers[name="main"].image`
fn field_path(path: &[String]) -> String {
    let step = |step: &String| match step.split_at_checked(2) {
        Some(("f:", field)) => format!(".{field}"),
        Some(("k:", key)) => format!(
            "[{}]",
            key.trim_matches(['{', '}'])
                .replace(':', "=")
                .replacen('"', "", 2)
        ),
        _ => format!("[={}]", step.get(2..).unwrap_or_default()),
    };
    path.iter().map(step).collect()
}

/// Notes that `manager` created or changed an object other than by applying:
/// what it changed is its own from now on.
pub(super) fn record_update(before: &Value, after: &mut Value, manager: &str) {
    let all = fields_of(after);
    let changed: Fields = all
        .iter()
        .filter(|path| value_at(before, path) != value_at(after, path))
        .cloned()
        .collect();
    let mut entries = entries(before);
    for entry in &mut entries {
        entry
            .fields
            .retain(|path| all.contains(path) && !changed.contains(path));
    }
    if !changed.is_empty() {
        let time = clock::rfc3339(clock::now());
        match entries
            .iter_mut()
            .find(|entry| entry.manager == manager && entry.operation == UPDATE)
        {
            Some(entry) => {
                entry.fields.extend(changed);
                entry.time = time;
            }
            None => entries.push(Entry {
                manager: manager.to_owned(),
                operation: UPDATE.to_owned(),
                time,
                fields: changed,
            }),
        }
    }
    write(after, &entries);
}

fn entries(object: &Value) -> Vec<Entry> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    entries
        .map(|entry| Entry {
            manager: text(entry, "/manager").to_owned(),
            operation: text(entry, "/operation").to_owned(),
            time: text(entry, "/time").to_owned(),
            fields: from_json(&entry["fieldsV1"]),
        })
        .collect()
}

fn write(object: &mut Value, entries: &[Entry]) {
    let api_version = object["apiVersion"].clone();
    let written: Vec<_> = entries
        .iter()
        .filter(|entry| !entry.fields.is_empty())
        .map(|entry| {
            json!({
                "manager": entry.manager,
                "operation": entry.operation,
                "apiVersion": api_version,
                "time": entry.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": to_json(&entry.fields),
            })
        })
        .collect();
    object::map_at(object, "metadata")["managedFields"] = written.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
    }

    fn apply(live: &Value, data: &Value, manager: &str) -> Result<Value, ApiError> {
        applied(live, &map(data), manager, Conflicts::Refuse)
    }

    #[test]
    fn what_a_manager_drops_is_removed_unless_another_keeps_it() {
        let live = apply(&json!({}), &json!({"a": "1", "b": "2"}), "one").unwrap();
        let live = apply(&live, &json!({"b": "2"}), "two").unwrap();
        let live = apply(&live, &json!({}), "one").unwrap();
        assert_eq!(live["data"], json!({"b": "2"}));
        let live = apply(&live, &json!({}), "two").unwrap();
        assert_eq!(live["data"], json!({}));
    }

    #[test]
    fn another_value_is_a_conflict_until_forced() {
        let live = apply(&json!({}), &json!({"a": "1"}), "one").unwrap();
        let refused = apply(&live, &json!({"a": "2"}), "two").unwrap_err();
        let ApiError::ApplyConflict { causes } = refused else {
            panic!("{refused}")
        };
        assert_eq!((causes[0].field.as_str(), causes.len()), (".data.a", 1));
        let live = applied(&live, &map(&json!({"a": "2"})), "two", Conflicts::TakeOver).unwrap();
        assert_eq!(live["data"], json!({"a": "2"}));
        let managers: Vec<_> = entries(&live)
            .into_iter()
            .map(|entry| entry.manager)
            .collect();
        assert_eq!(managers, ["two"]);
    }

    #[test]
    fn an_update_takes_the_fields_it_changes() {
        let live = apply(&json!({}), &json!({"a": "1", "b": "2"}), "one").unwrap();
        let mut changed = live.clone();
        changed["data"]["a"] = "3".into();
        record_update(&live, &mut changed, "editor");
        assert!(apply(&changed, &json!({"a": "1", "b": "2"}), "one").is_err());
        assert!(apply(&changed, &json!({"b": "2"}), "one").is_ok());
    }

    #[test]
    fn a_dropped_field_takes_its_defaults_along() {
        let mut live = json!({});
        for spec in [json!({"probe": {"port": 1}}), json!({"x": 1})] {
            let object = json!({"metadata": {"name": "p"}, "spec": spec});
            live = applied(&live, &object, "one", Conflicts::Refuse).unwrap();
            if let Some(probe) = live.pointer_mut("/spec/probe") {
                probe["period"] = 10.into();
            }
        }
        assert_eq!(live["spec"], json!({"x": 1}));
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let live = apply(&json!({}), &json!({"a": "1"}), "one").unwrap();
        assert_eq!(apply(&live, &json!({"a": "1"}), "one").unwrap(), live);
    }

    #[test]
    fn elements_of_lists_are_managed_one_by_one() {
        let pod = |containers: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}});
        let apply = |live: &Value, containers: Value, manager: &str| {
            applied(live, &pod(containers), manager, Conflicts::Refuse).unwrap()
        };
        let port = |number: u16| json!({"containerPort": number});
        let live = apply(
            &json!({}),
            json!([{"name": "a", "ports": [port(1), port(2)]}]),
            "one",
        );
        let mut live = apply(&live, json!([{"name": "b", "image": "x"}]), "two");
        live["spec"]["containers"][0]["ports"][0]["protocol"] = "TCP".into();
        let live = apply(&live, json!([{"name": "a", "ports": [port(2)]}]), "one");
        let ports = &live["spec"]["containers"][0]["ports"];
        assert_eq!(ports.as_array().unwrap().len(), 1, "{ports}");
        let live = apply(&live, json!([]), "one");
        let names: Vec<_> = live["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|container| &container["name"])
            .collect();
        assert_eq!(names, ["b"]);
    }
}
