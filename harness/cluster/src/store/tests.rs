use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use k8s_openapi::api::core::v1::ConfigMap;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::object;

fn config_map(name: &str, value: u32) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "data": {"value": value.to_string()}})
}

fn names(objects: &[Arc<Stored>]) -> Vec<&str> {
    objects.iter().map(|object| object::name(object)).collect()
}

fn drain(watch: &mut Watch) -> Vec<(EventKind, String)> {
    std::iter::from_fn(|| watch.try_next().unwrap())
        .map(|event| (event.kind, object::name(&event.object).to_owned()))
        .collect()
}

#[test]
fn creation_fills_in_what_the_server_owns() {
    let store = Store::new();
    let created = store
        .create(Resource::ConfigMaps, config_map("a", 1))
        .unwrap();
    assert_eq!(created["apiVersion"], "v1");
    assert_eq!(created["kind"], "ConfigMap");
    assert_eq!(object::uid(&created).len(), 36);
    assert_eq!(
        object::resource_version(&created),
        store.list(Resource::ConfigMaps, None).1
    );
    assert!(object::text(&created, "/metadata/creationTimestamp").ends_with('Z'));

    let again = store.create(Resource::ConfigMaps, config_map("a", 1));
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })));
    let generated = json!({"metadata": {"generateName": "a-", "namespace": "default"}});
    let generated = store.create(Resource::ConfigMaps, generated).unwrap();
    assert_eq!(
        object::name(&generated).len(),
        "a-".len() + names::SUFFIX_LENGTH
    );
    let nowhere = json!({"metadata": {"name": "a", "namespace": "nowhere"}});
    let nowhere = store.create(Resource::ConfigMaps, nowhere);
    assert!(matches!(
        nowhere,
        Err(StoreError::NotFound {
            resource: Resource::Namespaces,
            ..
        })
    ));
}

#[test]
fn lists_keep_to_kind_and_namespace() {
    let store = Store::new();
    store
        .create(Resource::ConfigMaps, config_map("b", 1))
        .unwrap();
    store
        .create(Resource::ConfigMaps, config_map("a", 1))
        .unwrap();
    let other = json!({"metadata": {"name": "c", "namespace": "kube-system"}});
    store.create(Resource::ConfigMaps, other).unwrap();
    assert_eq!(
        names(&store.list(Resource::ConfigMaps, Some("default")).0),
        ["a", "b"]
    );
    assert_eq!(
        names(&store.list(Resource::ConfigMaps, None).0),
        ["a", "b", "c"]
    );
    assert_eq!(
        names(&store.list(Resource::Pods, None).0),
        Vec::<&str>::new()
    );
}

#[test]
fn an_update_without_a_change_is_no_event() {
    let store = Store::new();
    let created = store
        .create(Resource::ConfigMaps, config_map("a", 1))
        .unwrap();
    let same = store
        .update(Resource::ConfigMaps, "default", "a", |_| {})
        .unwrap();
    assert_eq!(created, same);
    let renamed = store
        .update(Resource::ConfigMaps, "default", "a", |object| {
            object["metadata"]["uid"] = "x".into()
        })
        .unwrap();
    assert_eq!(created, renamed, "identity cannot be changed");
}

#[test]
fn generation_counts_changes_of_the_desired_state_only() {
    let store = Store::new();
    let deployment =
        json!({"metadata": {"name": "a", "namespace": "default"}, "spec": {"replicas": 1}});
    store.create(Resource::Deployments, deployment).unwrap();
    let change = |pointer: &'static str| {
        let changed = store.update(Resource::Deployments, "default", "a", |object| {
            object[pointer] = json!({"replicas": 2});
        });
        changed.unwrap()["metadata"]["generation"].as_u64().unwrap()
    };
    assert_eq!(change("status"), 1);
    assert_eq!(change("spec"), 2);
}

#[test]
fn a_running_pod_stays_for_its_grace_period_which_can_only_shrink() {
    let store = Store::new();
    let pod = json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"nodeName": "node", "terminationGracePeriodSeconds": 20},
    });
    let pod = store.create(Resource::Pods, pod).unwrap();
    let delete = |grace_seconds| {
        let options = DeleteOptions {
            grace_seconds,
            ..DeleteOptions::default()
        };
        store
            .delete(Resource::Pods, "default", "p", &options)
            .unwrap()
    };
    let grace = |deletion: Deletion| match deletion {
        Deletion::Pending(pod) => pod["metadata"]["deletionGracePeriodSeconds"]
            .as_u64()
            .unwrap(),
        Deletion::Removed(_) => panic!("the pod is gone"),
    };
    assert_eq!(grace(delete(None)), 20);
    assert_eq!(grace(delete(Some(60))), 20);
    assert_eq!(grace(delete(Some(5))), 5);
    let other = store.delete(
        Resource::Pods,
        "default",
        "p",
        &DeleteOptions::immediately("other"),
    );
    assert!(matches!(other, Err(StoreError::Conflict { .. })));
    let options = DeleteOptions::immediately(object::uid(&pod));
    let removed = store
        .delete(Resource::Pods, "default", "p", &options)
        .unwrap();
    assert!(matches!(removed, Deletion::Removed(_)));
}

#[test]
fn a_pod_without_a_node_vanishes_at_once() {
    let store = Store::new();
    store
        .create(
            Resource::Pods,
            json!({"metadata": {"name": "p", "namespace": "default"}}),
        )
        .unwrap();
    let deletion = store
        .delete(Resource::Pods, "default", "p", &DeleteOptions::default())
        .unwrap();
    assert!(matches!(deletion, Deletion::Removed(_)));
}

#[test]
fn finalizers_hold_a_deleted_object_until_the_last_is_removed() {
    let store = Store::new();
    let mut object = config_map("a", 1);
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    store.create(Resource::ConfigMaps, object).unwrap();
    let mut watch = store.watch(Resource::ConfigMaps, None).unwrap();
    let deletion = store
        .delete(
            Resource::ConfigMaps,
            "default",
            "a",
            &DeleteOptions::default(),
        )
        .unwrap();
    assert!(matches!(deletion, Deletion::Pending(_)));
    store
        .update(Resource::ConfigMaps, "default", "a", |object| {
            object["metadata"]["finalizers"] = json!([])
        })
        .unwrap();
    assert!(store.get(Resource::ConfigMaps, "default", "a").is_none());
    let kinds: Vec<_> = drain(&mut watch)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(
        kinds,
        [EventKind::Added, EventKind::Modified, EventKind::Deleted]
    );
}

#[test]
fn a_terminating_namespace_takes_nothing_new() {
    let store = Store::new();
    store
        .delete(
            Resource::Namespaces,
            "",
            "default",
            &DeleteOptions::default(),
        )
        .unwrap();
    let refused = store.create(Resource::ConfigMaps, config_map("a", 1));
    assert!(matches!(
        refused,
        Err(StoreError::NamespaceTerminating { .. })
    ));
}

#[tokio::test]
async fn a_waiting_watch_wakes() {
    let store = Store::new();
    let mut watch = store.watch(Resource::ConfigMaps, None).unwrap();
    let waiting = tokio::spawn(async move { watch.next().await.map(|event| event.kind) });
    store
        .create(Resource::ConfigMaps, config_map("a", 1))
        .unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), EventKind::Added);
}

#[test]
fn a_reader_which_falls_behind_the_history_is_told() {
    let store = Store::with_history(8);
    let mut watch = store.watch(Resource::ConfigMaps, None).unwrap();
    for value in 0..9 {
        store
            .create(Resource::ConfigMaps, config_map(&value.to_string(), value))
            .unwrap();
    }
    assert!(watch.try_next().is_err());
    let (_, now) = store.list(Resource::ConfigMaps, None);
    assert!(store.watch(Resource::ConfigMaps, Some(now)).is_ok());
    assert!(store.watch(Resource::ConfigMaps, Some(now - 8)).is_ok());
    assert!(store.watch(Resource::ConfigMaps, Some(now - 9)).is_err());
    assert!(
        store.watch(Resource::ConfigMaps, Some(now + 1)).is_err(),
        "another cluster's revision"
    );
}

/// All that a watch has yet to tell of is shared with the others.
#[test]
fn a_watch_that_nobody_reads_keeps_no_object() {
    let store = Store::with_history(8);
    let names: Vec<_> = (0..200).map(|number| format!("{number:03}")).collect();
    let created: Vec<_> = names
        .iter()
        .map(|name| store.create(Resource::ConfigMaps, config_map(name, 1)))
        .map(|created| Arc::downgrade(&created.unwrap()))
        .collect();
    let mut watch = store.watch(Resource::ConfigMaps, None).unwrap();
    assert!(watch.try_next().unwrap().is_some());
    for name in &names {
        let options = DeleteOptions::default();
        store
            .delete(Resource::ConfigMaps, "default", name, &options)
            .unwrap();
    }
    let kept = created
        .iter()
        .filter(|object| object.upgrade().is_some())
        .count();
    assert!(kept < 100, "{kept}");
    let mut rest = std::iter::from_fn(|| watch.try_next().transpose());
    assert!(rest.any(|told| told.is_err()), "it must begin anew");
}

/// However the objects change while a watch is told of them, it is told of them
/// as they were at its start, and then of the changes.
#[test]
fn a_watch_begins_with_the_objects_at_its_start() {
    let store = Store::new();
    for number in 0..150 {
        let map = config_map(&format!("{number:03}"), number);
        store.create(Resource::ConfigMaps, map).unwrap();
    }
    let (mut expected, revision) = store.list(Resource::ConfigMaps, None);
    let mut watch = store.watch(Resource::ConfigMaps, None).unwrap();
    let mut told = Vec::new();
    for step in 0..150 {
        assert!(watch.is_initial());
        let event = watch.try_next().unwrap().unwrap();
        assert_eq!(event.kind, EventKind::Added);
        told.push(event.object);
        // Behind, at and before the place that has been reached.
        let name = format!("{:03}", (step * 7) % 150);
        match step % 3 {
            0 => perform(&store, &Write::Delete(name)),
            1 => perform(&store, &Write::Update(name, step)),
            _ => perform(&store, &Write::Create(format!("{name}-new"))),
        }
    }
    assert!(!watch.is_initial());
    assert_eq!(told, expected);
    while let Some(event) = watch.try_next().unwrap() {
        assert!(event.revision > revision);
        expected.retain(|object| object::name(object) != object::name(&event.object));
        if event.kind != EventKind::Deleted {
            expected.push(event.object);
        }
    }
    expected.sort_by(|one, other| object::name(one).cmp(object::name(other)));
    assert_eq!(expected, store.list(Resource::ConfigMaps, None).0);
}

#[test]
fn a_history_of_huge_objects_is_short() {
    const SIZE: usize = 1 << 20;

    let store = Store::new();
    let huge = |value: usize| {
        let mut map = config_map("a", 0);
        map["data"]["value"] = format!("{value}{}", "x".repeat(SIZE)).into();
        map
    };
    store.create(Resource::ConfigMaps, huge(0)).unwrap();
    let before = store.revision();
    for value in 1..100 {
        let update = store.update(Resource::ConfigMaps, "default", "a", |map| {
            map["data"] = huge(value)["data"].clone();
        });
        update.unwrap();
    }
    let weight = store.holdings().weight_bytes;
    assert!(weight < 40 * SIZE, "{weight}");
    assert!(store.watch(Resource::ConfigMaps, Some(before)).is_err());
    let latest = store.revision() - 1;
    assert!(store.watch(Resource::ConfigMaps, Some(latest)).is_ok());
}

#[test]
fn a_dry_run_decides_but_changes_nothing() {
    let store = Store::new();
    let kept = store
        .create(Resource::ConfigMaps, config_map("kept", 1))
        .unwrap();
    let before = store.list(Resource::ConfigMaps, None);
    let dry = store.dry_run();
    let created = dry
        .create(Resource::ConfigMaps, config_map("a", 1))
        .unwrap();
    assert_eq!(object::uid(&created).len(), 36);
    let again = dry.create(Resource::ConfigMaps, config_map("kept", 1));
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })));
    let updated = dry.update(Resource::ConfigMaps, "default", "kept", |object| {
        object["data"]["value"] = "2".into();
    });
    assert_eq!(updated.unwrap()["data"]["value"], "2");
    let options = DeleteOptions::default();
    let deletion = dry.delete(Resource::ConfigMaps, "default", "kept", &options);
    assert!(matches!(deletion, Ok(Deletion::Removed(_))));
    assert_eq!(store.list(Resource::ConfigMaps, None), before);
    assert_eq!(
        store.get(Resource::ConfigMaps, "default", "kept"),
        Some(kept)
    );
}

#[test]
fn changes_of_one_kind_neither_wake_nor_outdate_watches_of_another() {
    let store = Store::with_history(8);
    let mut watch = store.watch(Resource::Pods, None).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut next = pin!(watch.next());
    assert!(
        next.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    for value in 0..9 {
        store
            .create(Resource::ConfigMaps, config_map(&value.to_string(), value))
            .unwrap();
    }
    assert_eq!(woken.times(), 0);
    let pod = json!({"metadata": {"name": "p", "namespace": "default"}});
    store.create(Resource::Pods, pod).unwrap();
    assert_eq!(woken.times(), 1);
    let polled = next.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(polled, Poll::Ready(Ok(event)) if object::name(&event.object) == "p"));
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_typed_object_is_parsed_once_per_revision() {
    let store = Store::new();
    store
        .create(Resource::ConfigMaps, config_map("a", 1))
        .unwrap();
    let value = || {
        let object = store.get(Resource::ConfigMaps, "default", "a").unwrap();
        let map: Arc<ConfigMap> = object.typed().unwrap();
        map.data.as_ref().unwrap()["value"].clone()
    };
    work::take();
    assert_eq!([value(), value()], ["1", "1"]);
    assert_eq!(work::take().parsed, 1);
    let update = store.update(Resource::ConfigMaps, "default", "a", |object| {
        object["data"]["value"] = "2".into();
    });
    update.unwrap();
    assert_eq!([value(), value()], ["2", "2"]);
    assert_eq!(work::take().parsed, 1);
}

#[derive(Clone, Debug)]
struct Labelled {
    name: u8,
    labels: BTreeMap<String, String>,
    selector: BTreeMap<String, String>,
    owners: Vec<u8>,
}

fn labelled() -> impl Strategy<Value = Vec<Option<Labelled>>> {
    let labels = || proptest::collection::btree_map("[ab]", "[xy]", 0..3);
    let owners = proptest::collection::vec(0u8..3, 0..3);
    let object = (0u8..5, labels(), labels(), owners);
    let object = object.prop_map(|(name, labels, selector, owners)| Labelled {
        name,
        labels,
        selector,
        owners,
    });
    proptest::collection::vec(proptest::option::weighted(0.8, object), 0..30)
}

proptest! {
    /// What the index finds is what a look at every object finds.
    #[test]
    fn the_index_misses_nothing(writes in labelled(), wanted in "[ab]=[xy](,[ab])?") {
        let store = Store::new();
        for (step, write) in writes.into_iter().enumerate() {
            let Some(write) = write else {
                let name = (step % 5).to_string();
                let options = DeleteOptions::default();
                drop(store.delete(Resource::Services, "default", &name, &options));
                continue;
            };
            let name = write.name.to_string();
            let owners: Vec<_> = write.owners.iter().map(|uid| json!({"uid": uid.to_string()})).collect();
            let metadata = json!({
                "name": name, "namespace": "default", "labels": write.labels, "ownerReferences": owners,
            });
            let spec = json!({"selector": write.selector});
            let object = json!({"metadata": metadata, "spec": spec});
            drop(store.create(Resource::Services, object));
            let update = store.update(Resource::Services, "default", &name, |object| {
                object["metadata"]["labels"] = metadata["labels"].clone();
                object["metadata"]["ownerReferences"] = metadata["ownerReferences"].clone();
                object["spec"] = spec;
            });
            update.unwrap();
        }
        let (all, _) = store.list(Resource::Services, None);
        let selector = Selector::parse(&wanted).unwrap();
        let matching = |object: &&Arc<Stored>| selector.matches(&object::labels(object));
        let expected: Vec<_> = all.iter().filter(matching).cloned().collect();
        prop_assert_eq!(store.select(Resource::Services, "default", &selector), expected);

        let labels = BTreeMap::from(["a", "b"].map(|key| (key.to_owned(), "x".to_owned())));
        let selects = |object: &&Arc<Stored>| {
            Selector::of_labels(&object::string_map(object, "/spec/selector")).matches(&labels)
        };
        let found = store.selecting(Resource::Services, "default", &labels);
        for object in all.iter().filter(selects) {
            prop_assert!(found.contains(object));
        }

        let owned = |object: &&Arc<Stored>| object::owners(object).any(|owner| owner["uid"] == "1");
        let expected: Vec<_> = all.iter().filter(owned).cloned().collect();
        let dependents: Vec<_> = store.dependents("1").into_iter().map(|(_, object)| object).collect();
        prop_assert_eq!(dependents, expected);
    }
}

#[derive(Clone, Debug)]
enum Write {
    Create(String),
    Update(String, u32),
    Delete(String),
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = prop_oneof![
        "[a-f]".prop_map(Write::Create),
        ("[a-f]", 0u32..4).prop_map(|(name, value)| Write::Update(name, value)),
        "[a-f]".prop_map(Write::Delete),
    ];
    proptest::collection::vec(write, 0..60)
}

fn perform(store: &Store, write: &Write) {
    // A write that finds nothing (or too much) is part of the game.
    match write {
        Write::Create(name) => {
            drop(store.create(Resource::ConfigMaps, config_map(name, 0)));
        }
        Write::Update(name, value) => {
            drop(
                store.update(Resource::ConfigMaps, "default", name, |object| {
                    object["data"]["value"] = value.to_string().into();
                }),
            );
        }
        Write::Delete(name) => {
            let options = DeleteOptions::default();
            drop(store.delete(Resource::ConfigMaps, "default", name, &options));
        }
    }
}

proptest! {
    /// Listing at any moment and then following gives what a list gives at the end.
    #[test]
    fn replayed_events_end_with_the_listed_state(before in writes(), after in writes()) {
        let store = Store::new();
        before.iter().for_each(|write| perform(&store, write));
        let (listed, revision) = store.list(Resource::ConfigMaps, None);
        let mut seen: BTreeMap<String, Arc<Stored>> = listed
            .into_iter()
            .map(|object| (object::name(&object).to_owned(), object))
            .collect();
        after.iter().for_each(|write| perform(&store, write));
        let mut watch = store.watch(Resource::ConfigMaps, Some(revision)).unwrap();
        let mut last = revision;
        while let Some(event) = watch.try_next().unwrap() {
            prop_assert!(event.revision > last);
            last = event.revision;
            let name = object::name(&event.object).to_owned();
            let previous = match event.kind {
                EventKind::Added | EventKind::Modified => seen.insert(name, event.object),
                EventKind::Deleted => seen.remove(&name),
            };
            prop_assert_eq!(previous, event.previous);
        }
        let (listed, _) = store.list(Resource::ConfigMaps, None);
        prop_assert_eq!(seen.into_values().collect::<Vec<_>>(), listed);
    }
}
