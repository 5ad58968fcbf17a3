//! CustomResourceDefinitions: names are accepted unless another definition has
//! them, and a deleted definition takes its objects with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Controller, concerned};
use crate::clock;
use crate::custom::definition::CLEANUP_FINALIZER;
use crate::object::{self, text};
use crate::store::{
    DeleteOptions, Event, EventKind, Key, Kinds, Resource, Store, StoreError, Stored,
};

const DEFINITIONS: Resource = Resource::CustomResourceDefinitions;

#[derive(Debug)]
pub(super) struct CustomResourceDefinitions {
    store: Store,
}

impl CustomResourceDefinitions {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }
}

impl Controller for CustomResourceDefinitions {
    fn name(&self) -> &'static str {
        "custom-resource-definition-controller"
    }

    fn watched(&self) -> Kinds {
        Kinds::All
    }

    /// A definition that goes leaves its names to others; an object that goes
    /// may be the last which held its definition back.
    fn concerned(&self, event: &Event) -> Vec<Key> {
        match (&event.resource, event.kind) {
            (&DEFINITIONS, EventKind::Deleted) => {
                let (definitions, _) = self.store.list(DEFINITIONS, None);
                let keys = definitions.iter();
                keys.map(|definition| Key::of(DEFINITIONS, definition))
                    .collect()
            }
            (&DEFINITIONS, _) => vec![concerned::itself(event)],
            (custom @ Resource::Custom(_), EventKind::Deleted) => {
                vec![Key::new(DEFINITIONS, "", &custom.qualified_name())]
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, key: &Key) -> Result<Option<Duration>, StoreError> {
        match self.store.get(DEFINITIONS, "", &key.name) {
            None => {}
            Some(definition) if object::is_deleting(&definition) => {
                clean_up(&self.store, &definition)?;
            }
            Some(definition) => accept(&self.store, &definition)?,
        }
        Ok(None)
    }
}

fn is_established(definition: &Value) -> bool {
    condition(definition, "Established").is_some_and(|found| found["status"] == "True")
}

fn condition<'a>(definition: &'a Value, wanted: &str) -> Option<&'a Value> {
    let conditions = definition.pointer("/status/conditions")?.as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == wanted)
}

fn accept(store: &Store, definition: &Value) -> Result<(), StoreError> {
    let (all, _) = store.list(DEFINITIONS, None);
    let conflict = conflict(definition, &all);
    update(store, definition, |definition| {
        if conflict.is_none() {
            definition["status"]["acceptedNames"] = definition["spec"]["names"].clone();
        }
        for wanted in name_conditions(conflict.as_ref(), is_established(definition)) {
            set_condition(definition, wanted);
        }
    })
}

/// A name which another definition of the group had first.
struct Conflict {
    reason: &'static str,
    message: String,
}

fn conflict(definition: &Value, all: &[Arc<Stored>]) -> Option<Conflict> {
    let group = &definition["spec"]["group"];
    let others = all.iter().filter(|other| {
        other["spec"]["group"] == *group && object::uid(other) != object::uid(definition)
    });
    let taken: Vec<_> = others
        .map(|other| &other["status"]["acceptedNames"])
        .collect();
    let names = &definition["spec"]["names"];
    let resources = |names: &Value| -> BTreeSet<String> {
        let single = [text(names, "/plural"), text(names, "/singular")].into_iter();
        let all = single.chain(object::strings(names, "/shortNames"));
        all.filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let kinds = |names: &Value| -> BTreeSet<String> {
        let all = [text(names, "/kind"), text(names, "/listKind")].into_iter();
        all.filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let used = |of: &dyn Fn(&Value) -> BTreeSet<String>| -> BTreeSet<String> {
        taken.iter().flat_map(|names| of(names)).collect()
    };
    let first = |wanted: BTreeSet<String>, used: &BTreeSet<String>| {
        wanted.into_iter().find(|name| used.contains(name))
    };
    let in_use = |reason, name: String| Conflict {
        reason,
        message: format!("{name:?} is already in use"),
    };
    first(resources(names), &used(&resources))
        .map(|name| in_use("NameConflict", name))
        .or_else(|| first(kinds(names), &used(&kinds)).map(|name| in_use("KindConflict", name)))
}

/// What is said about names; what was established stays so.
fn name_conditions(conflict: Option<&Conflict>, established: bool) -> Vec<Value> {
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        let status = if status { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "message": message})
    };
    match conflict {
        None => vec![
            condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                true,
                "InitialNamesAccepted",
                "the initial names have been accepted",
            ),
        ],
        Some(Conflict { reason, message }) => {
            let accepted = condition("NamesAccepted", false, reason, message);
            let not_yet = condition(
                "Established",
                false,
                "NotAccepted",
                "not all names are accepted",
            );
            std::iter::once(accepted)
                .chain((!established).then_some(not_yet))
                .collect()
        }
    }
}

/// Deletes the objects of a definition and, once there are none, lets it go.
fn clean_up(store: &Store, definition: &Value) -> Result<(), StoreError> {
    let name = object::name(definition);
    let served = store.served();
    let resource = served.into_iter().find(|resource| {
        matches!(resource, Resource::Custom(_)) && resource.qualified_name() == name
    });
    let mut left = 0;
    if let Some(resource) = resource {
        for object in store.list(resource.clone(), None).0 {
            let (namespace, name) = (object::namespace(&object), object::name(&object));
            if !object::is_deleting(&object) {
                store.delete(resource.clone(), namespace, name, &DeleteOptions::default())?;
            }
            left += usize::from(store.get(resource.clone(), namespace, name).is_some());
        }
    }
    update(store, definition, |definition| {
        let finalizers = definition["metadata"]["finalizers"].as_array_mut();
        if let Some(finalizers) = finalizers.filter(|_| left == 0) {
            finalizers.retain(|finalizer| finalizer != CLEANUP_FINALIZER);
        }
        let terminating = json!({
            "type": "Terminating",
            "status": if left == 0 { "False" } else { "True" },
            "reason": if left == 0 { "InstanceDeletionCompleted" } else { "InstanceDeletionInProgress" },
            "message": if left == 0 { "removed all instances" } else { "CustomResource deletion is in progress" },
        });
        set_condition(definition, terminating);
    })
}

fn update(
    store: &Store,
    definition: &Value,
    change: impl FnOnce(&mut Value),
) -> Result<(), StoreError> {
    let uid = object::uid(definition);
    let change = |found: &mut Value| {
        if object::uid(found) == uid {
            change(found);
        }
    };
    store
        .update(DEFINITIONS, "", object::name(definition), change)
        .map(drop)
}

/// Sets a condition; its time changes with its status only.
fn set_condition(definition: &mut Value, mut wanted: Value) {
    let kind = text(&wanted, "/type").to_owned();
    let earlier = condition(definition, &kind).cloned().unwrap_or_default();
    wanted["lastTransitionTime"] = match earlier["status"] == wanted["status"] {
        true => earlier["lastTransitionTime"].clone(),
        false => clock::rfc3339(clock::now()).into(),
    };
    let conditions = &mut object::map_at(definition, "status")["conditions"];
    match conditions.as_array_mut() {
        Some(conditions) => match conditions
            .iter_mut()
            .find(|found| found["type"] == kind.as_str())
        {
            Some(found) => *found = wanted,
            None => conditions.push(wanted),
        },
        None => *conditions = json!([wanted]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::settle::Settling;
    use crate::custom::CustomResource;
    use crate::store::Holdings;

    fn definition(kind: &str, short_name: &str) -> Value {
        let singular = kind.to_lowercase();
        let plural = format!("{singular}s");
        json!({
            "metadata": {"name": format!("{plural}.test.dev"), "finalizers": [CLEANUP_FINALIZER]},
            "spec": {
                "group": "test.dev",
                "scope": "Cluster",
                "names": {"kind": kind, "singular": singular, "plural": plural, "shortNames": [short_name]},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }],
            },
        })
    }

    fn custom(store: &Store) -> Vec<Resource> {
        let mut served = store.served();
        served.retain(|resource| matches!(resource, Resource::Custom(_)));
        served
    }

    fn settled(store: &Store) -> Settling {
        let controller = CustomResourceDefinitions::new(store);
        let mut settling = Settling::new(store, vec![Box::new(controller)]);
        settling.settle();
        settling
    }

    #[test]
    fn names_are_accepted_once() {
        let store = Store::new();
        store
            .create(DEFINITIONS, definition("Widget", "w"))
            .unwrap();
        assert_eq!(custom(&store), []);
        let mut settling = settled(&store);
        assert_eq!(custom(&store).len(), 1);
        store
            .create(DEFINITIONS, definition("Anchor", "w"))
            .unwrap();
        settling.settle();
        let said = |name, kind: &str| {
            let definition = store.get(DEFINITIONS, "", name).unwrap();
            condition(&definition, kind).unwrap()["status"].clone()
        };
        assert_eq!(said("anchors.test.dev", "NamesAccepted"), "False");
        assert_eq!(said("anchors.test.dev", "Established"), "False");
        assert_eq!(said("widgets.test.dev", "NamesAccepted"), "True");
        assert_eq!(custom(&store).len(), 1);
        let options = DeleteOptions::default();
        store
            .delete(DEFINITIONS, "", "widgets.test.dev", &options)
            .unwrap();
        settling.settle();
        assert_eq!(said("anchors.test.dev", "Established"), "True");
    }

    #[test]
    fn a_definition_goes_after_its_objects() {
        let store = Store::new();
        store
            .create(DEFINITIONS, definition("Widget", "w"))
            .unwrap();
        let mut settling = settled(&store);
        let widgets = custom(&store).remove(0);
        let held = json!({"metadata": {"name": "held", "finalizers": ["test.dev/f"]}});
        store.create(widgets.clone(), held).unwrap();
        let free = json!({"metadata": {"name": "free"}});
        store.create(widgets.clone(), free.clone()).unwrap();
        let options = DeleteOptions::default();
        store
            .delete(DEFINITIONS, "", "widgets.test.dev", &options)
            .unwrap();
        settling.settle();
        assert!(store.get(widgets.clone(), "", "free").is_none());
        let definition = store.get(DEFINITIONS, "", "widgets.test.dev").unwrap();
        assert_eq!(
            condition(&definition, "Terminating").unwrap()["status"],
            "True"
        );
        let refused = store.create(widgets.clone(), free).unwrap_err();
        assert!(matches!(refused, StoreError::DefinitionTerminating { .. }));
        let release = |object: &mut Value| object["metadata"]["finalizers"] = json!([]);
        store.update(widgets, "", "held", release).unwrap();
        settling.settle();
        assert!(store.get(DEFINITIONS, "", "widgets.test.dev").is_none());
        assert_eq!(custom(&store), []);
    }

    /// With all controllers at work, a thousand definitions leave as little behind
    /// as the first few.
    #[test]
    fn a_deleted_definition_leaves_nothing_behind() {
        const HISTORY: usize = 4;

        let store = Store::with_history(HISTORY);
        let mut settling = Settling::new(&store, crate::controllers::all(&store));
        let mut come_and_go = |number: usize| {
            let name = format!("kind{number}s.test.dev");
            let kind = format!("Kind{number}");
            let short_name = format!("k{number}");
            store
                .create(DEFINITIONS, definition(&kind, &short_name))
                .unwrap();
            settling.settle();
            let [Resource::Custom(custom)] = &custom(&store)[..] else {
                panic!("{name} is not served");
            };
            let object = json!({"metadata": {"name": "a", "labels": {"a": "b"}}});
            let resource = Resource::Custom(custom.clone());
            store.create(resource.clone(), object).unwrap();
            let watch = store.watch(resource, None).unwrap();
            let options = DeleteOptions::default();
            store.delete(DEFINITIONS, "", &name, &options).unwrap();
            settling.settle();
            assert!(store.get(DEFINITIONS, "", &name).is_none());
            assert_eq!(store.holdings().watches, 1, "the watch is told the end");
            drop(watch);
            custom.clone()
        };
        let first: Vec<_> = (0..HISTORY).map(&mut come_and_go).collect();
        let before = store.holdings();
        let others: Vec<_> = (HISTORY..1000).map(&mut come_and_go).collect();
        let after = store.holdings();
        let counts = |holdings: Holdings| Holdings {
            weight_bytes: 0,
            ..holdings
        };
        assert_eq!(counts(after), counts(before));
        assert!(after.weight_bytes < 2 * before.weight_bytes);
        let all = || first.iter().chain(&others).rev();
        // The kind which was watched last is freed at the next change of a definition.
        assert!(all().skip(1).all(CustomResource::is_held_by_nobody_else));
    }

    #[test]
    fn a_kind_that_comes_again_has_no_past() {
        let store = Store::new();
        let mut settling = settled(&store);
        let mut come_and_go = || {
            store
                .create(DEFINITIONS, definition("Widget", "w"))
                .unwrap();
            settling.settle();
            let widgets = custom(&store).remove(0);
            let widget = json!({"metadata": {"name": "a"}});
            let revision = object::resource_version(&store.create(widgets, widget).unwrap());
            let options = DeleteOptions::default();
            store
                .delete(DEFINITIONS, "", "widgets.test.dev", &options)
                .unwrap();
            settling.settle();
            revision
        };
        let before = come_and_go();
        store
            .create(DEFINITIONS, definition("Widget", "w"))
            .unwrap();
        settling.settle();
        let widgets = custom(&store).remove(0);
        assert!(store.watch(widgets.clone(), Some(before)).is_err());
        let (_, now) = store.list(widgets.clone(), None);
        assert!(store.watch(widgets, Some(now)).is_ok());
    }
}
