//! The objects, their history and who follows them: what one lock protects.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::index::Index;
use super::watch::Kinds;
use super::write::Change;
use super::{Event, EventKind, Expired, Key, Resource, StoreError, Stored};
use crate::custom::CustomResource;
use crate::object;
use crate::selector::Selector;

#[derive(Debug)]
pub(super) struct State {
    pub(super) revision: u64,
    kinds: BTreeMap<Resource, Kind>,
    history_limit: usize,
    index: Index,
    subscribers: Vec<(Kinds, mpsc::UnboundedSender<Event>)>,
    /// The custom kinds which are served, by the names of their definitions.
    custom: BTreeMap<String, CustomResource>,
}

/// The objects of one kind.
#[derive(Default, Debug)]
struct Kind {
    /// By namespace and name.
    objects: BTreeMap<(String, String), Arc<Stored>>,
    history: VecDeque<Event>,
    /// Revision of the newest event that was forgotten.
    compacted: u64,
    /// The revision of the latest change, to wake watches of this kind.
    latest: watch::Sender<u64>,
}

impl State {
    pub(super) fn new(history_limit: usize) -> Self {
        Self {
            revision: 0,
            kinds: BTreeMap::new(),
            history_limit,
            index: Index::default(),
            subscribers: Vec::new(),
            custom: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Stored>> {
        let place = (key.namespace.clone(), key.name.clone());
        let found = self.kinds.get(&key.resource)?.objects.get(&place);
        #[cfg(test)]
        super::work::count_read(usize::from(found.is_some()));
        found
    }

    pub(super) fn existing(&self, key: &Key) -> Result<Arc<Stored>, StoreError> {
        self.get(key).cloned().ok_or_else(|| StoreError::NotFound {
            resource: key.resource,
            name: key.name.clone(),
        })
    }

    /// All objects of a kind ordered by namespace and name.
    pub(super) fn list(&self, resource: Resource, namespace: Option<&str>) -> Vec<Arc<Stored>> {
        let Some(kind) = self.kinds.get(&resource) else {
            return Vec::new();
        };
        let objects: Vec<_> = match namespace {
            None => kind.objects.values().cloned().collect(),
            Some(namespace) => kind
                .objects
                .range((namespace.to_owned(), String::new())..)
                .take_while(|((place, _), _)| place == namespace)
                .map(|(_, object)| Arc::clone(object))
                .collect(),
        };
        #[cfg(test)]
        super::work::count_read(objects.len());
        objects
    }

    /// All objects of a kind as they were at a revision: those of today, with
    /// what has happened since undone.
    pub(super) fn list_at(
        &self,
        resource: Resource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Stored>>, Expired> {
        self.check_reachable(resource, revision)?;
        let Some(kind) = self.kinds.get(&resource) else {
            return Ok(Vec::new());
        };
        let place = |object: &Value| {
            let (namespace, name) = (object::namespace(object), object::name(object));
            (namespace.to_owned(), name.to_owned())
        };
        let present = self.list(resource, namespace).into_iter();
        let mut objects: BTreeMap<_, _> = present.map(|object| (place(&object), object)).collect();
        let here = |event: &&Event| {
            namespace.is_none_or(|namespace| namespace == object::namespace(&event.object))
        };
        let events = kind.history.iter().rev();
        let later = events.take_while(|event| event.revision > revision);
        for event in later.filter(here) {
            let place = place(&event.object);
            match &event.previous {
                Some(previous) => objects.insert(place, Arc::clone(previous)),
                None => objects.remove(&place),
            };
        }
        Ok(objects.into_values().collect())
    }

    /// The objects in a namespace whose labels match.
    pub(super) fn select(
        &self,
        resource: Resource,
        namespace: &str,
        selector: &Selector,
    ) -> Vec<Arc<Stored>> {
        let mut found = match self.index.selected(resource, namespace, selector) {
            Some(names) => self.named(resource, namespace, names),
            None => self.list(resource, Some(namespace)),
        };
        found.retain(|object| selector.matches(&object::labels(object)));
        found
    }

    /// The objects which may select something with these labels.
    pub(super) fn selecting(
        &self,
        resource: Resource,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<Arc<Stored>> {
        let names = self.index.selecting(resource, namespace, labels);
        self.named(resource, namespace, names)
    }

    fn named<'a>(
        &self,
        resource: Resource,
        namespace: &str,
        names: impl Iterator<Item = &'a String>,
    ) -> Vec<Arc<Stored>> {
        names
            .filter_map(|name| self.get(&Key::new(resource, namespace, name)).cloned())
            .collect()
    }

    /// The objects with an owner reference to this uid.
    pub(super) fn dependents(&self, uid: &str) -> Vec<(Key, Arc<Stored>)> {
        self.index
            .dependents(uid)
            .filter_map(|key| Some((key.clone(), Arc::clone(self.get(key)?))))
            .collect()
    }

    /// Whether a namespace holds an object of any kind.
    pub(super) fn has_content(&self, namespace: &str) -> bool {
        let first = (namespace.to_owned(), String::new());
        self.kinds.values().any(|kind| {
            let next = kind.objects.range(first.clone()..).next();
            next.is_some_and(|((place, _), _)| place == namespace)
        })
    }

    /// All objects in a namespace, of any kind.
    pub(super) fn content(&self, namespace: &str) -> Vec<(Key, Arc<Stored>)> {
        let objects = self.kinds.keys().flat_map(|kind| {
            let objects = self.list(*kind, Some(namespace)).into_iter();
            objects.map(|object| (Key::of(*kind, &object), object))
        });
        objects.collect()
    }

    /// The kinds served at present: the built-in ones, then the custom ones.
    pub(super) fn served(&self) -> Vec<Resource> {
        let custom = self.custom.values().copied().map(Resource::Custom);
        Resource::ALL.into_iter().chain(custom).collect()
    }

    /// Serves the kind which a definition defines from now on, or no longer.
    fn serve_definition(&mut self, name: &str, kind: EventKind, definition: &Value) {
        let defined = match kind {
            EventKind::Added | EventKind::Modified => CustomResource::of_definition(definition),
            EventKind::Deleted => None,
        };
        match defined {
            Some(custom) => self.custom.insert(name.to_owned(), custom),
            None => self.custom.remove(name),
        };
    }

    /// Every present object of a kind, as if it had just been added.
    pub(super) fn as_added(&self, resource: Resource) -> VecDeque<Event> {
        let objects = self.list(resource, None).into_iter();
        objects
            .map(|object| Event {
                resource,
                revision: object::resource_version(&object),
                kind: EventKind::Added,
                object,
                previous: None,
            })
            .collect()
    }

    /// A signal of the changes of a kind.
    pub(super) fn changed(&mut self, resource: Resource) -> watch::Receiver<u64> {
        self.kinds.entry(resource).or_default().latest.subscribe()
    }

    /// Every present object of some kinds, then every change of them.
    pub(super) fn subscribe(&mut self, kinds: Kinds) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let present: Vec<Resource> = self.kinds.keys().copied().collect();
        let present = present.into_iter().filter(|kind| kinds.contain(*kind));
        for event in present.flat_map(|resource| self.as_added(resource)) {
            // The receiver is still here.
            drop(sender.send(event));
        }
        self.subscribers.push((kinds, sender));
        receiver
    }

    /// The first event of a kind after `position`, and the position behind it;
    /// without one, the position up to which there is none.
    pub(super) fn event_after(
        &self,
        resource: Resource,
        position: u64,
    ) -> Result<(Option<Event>, u64), Expired> {
        self.check_reachable(resource, position)?;
        let next = self.kinds.get(&resource).and_then(|kind| {
            let start = kind
                .history
                .partition_point(|event| event.revision <= position);
            kind.history.get(start)
        });
        Ok(match next {
            Some(event) => (Some(event.clone()), event.revision),
            None => (None, self.revision),
        })
    }

    pub(super) fn check_reachable(&self, resource: Resource, from: u64) -> Result<(), Expired> {
        let compacted = self.kinds.get(&resource).map_or(0, |kind| kind.compacted);
        // A revision to come is of another cluster's life: it says nothing here.
        if from < compacted || from > self.revision {
            return Err(Expired {
                from,
                oldest: compacted,
            });
        }
        Ok(())
    }

    /// The only place where objects, revision and history change: together.
    pub(super) fn commit(&mut self, change: Change) -> Arc<Stored> {
        let Change {
            key,
            kind: event_kind,
            mut object,
        } = change;
        self.revision += 1;
        let revision = self.revision;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        let object = Arc::new(Stored::new(object));
        if key.resource == Resource::CustomResourceDefinitions {
            self.serve_definition(&key.name, event_kind, &object);
        }
        let kind = self.kinds.entry(key.resource).or_default();
        let place = (key.namespace.clone(), key.name.clone());
        let (previous, present) = match event_kind {
            EventKind::Added | EventKind::Modified => {
                let previous = kind.objects.insert(place, Arc::clone(&object));
                (previous, Some(&**object))
            }
            EventKind::Deleted => (kind.objects.remove(&place), None),
        };
        let before: Option<&Value> = previous.as_deref().map(|previous| &**previous);
        self.index.change(&key, before, present);
        let event = Event {
            resource: key.resource,
            revision,
            kind: event_kind,
            object: Arc::clone(&object),
            previous,
        };
        kind.remember(event.clone(), self.history_limit);
        self.subscribers.retain(|(kinds, subscriber)| {
            if kinds.contain(key.resource) {
                subscriber.send(event.clone()).is_ok()
            } else {
                !subscriber.is_closed()
            }
        });
        object
    }
}

impl Kind {
    fn remember(&mut self, event: Event, limit: usize) {
        let revision = event.revision;
        self.history.push_back(event);
        while self.history.len() > limit {
            if let Some(forgotten) = self.history.pop_front() {
                self.compacted = forgotten.revision;
            }
        }
        self.latest.send_replace(revision);
    }
}
