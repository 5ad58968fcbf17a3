//! The objects, their history and who follows them: what one lock protects.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::holdings::Holdings;
use super::index::Index;
use super::watch::Kinds;
use super::write::Change;
use super::{Event, EventKind, Expired, Key, Resource, StoreError, Stored};
use crate::custom::CustomResource;
use crate::object;
use crate::selector::Selector;

/// How much the objects in the history of a kind may weigh together, in bytes:
/// far more than they do unless they are huge.
const HISTORY_WEIGHT: usize = 32 * 1024 * 1024;

/// A namespace (empty for kinds without) and a name.
pub(super) type Place = (String, String);

pub(super) fn place_of(object: &Value) -> Place {
    let (namespace, name) = (object::namespace(object), object::name(object));
    (namespace.to_owned(), name.to_owned())
}

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
    objects: BTreeMap<Place, Arc<Stored>>,
    history: VecDeque<Event>,
    /// What the objects in the history weigh, in bytes.
    history_weight: usize,
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

    pub(super) fn holdings(&self) -> Holdings {
        let mut holdings = Holdings {
            kinds: self.kinds.len(),
            index_entries: self.index.entries(),
            ..Holdings::default()
        };
        for kind in self.kinds.values() {
            let weights = kind.objects.values().map(|object| object.weight());
            holdings.objects += kind.objects.len();
            holdings.history += kind.history.len();
            holdings.weight_bytes += kind.history_weight + weights.sum::<usize>();
            holdings.watches += kind.latest.receiver_count();
        }
        holdings
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
            resource: key.resource.clone(),
            name: key.name.clone(),
        })
    }

    /// All objects of a kind ordered by namespace and name.
    pub(super) fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Arc<Stored>> {
        let Some(kind) = self.kinds.get(resource) else {
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

    pub(super) fn count(&self, resource: &Resource) -> usize {
        self.kinds
            .get(resource)
            .map_or(0, |kind| kind.objects.len())
    }

    /// All objects of a kind as they were at a revision: those of today, with
    /// what has happened since undone.
    pub(super) fn list_at(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Stored>>, Expired> {
        self.check_reachable(resource, revision)?;
        let Some(kind) = self.kinds.get(resource) else {
            return Ok(Vec::new());
        };
        let present = self.list(resource, namespace).into_iter();
        let mut objects: BTreeMap<_, _> =
            present.map(|object| (place_of(&object), object)).collect();
        for (place, then) in kind.changed_since(revision) {
            if namespace.is_none_or(|namespace| namespace == place.0) {
                match then {
                    Some(object) => objects.insert(place, Arc::clone(object)),
                    None => objects.remove(&place),
                };
            }
        }
        Ok(objects.into_values().collect())
    }

    /// Some objects of a kind as they were at a revision, in the order of their
    /// places: those behind `after`, or the first ones, at most `limit`.
    pub(super) fn page_at(
        &self,
        resource: &Resource,
        after: Option<&Place>,
        revision: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Stored>>, Expired> {
        self.check_reachable(resource, revision)?;
        let Some(kind) = self.kinds.get(resource) else {
            return Ok(Vec::new());
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (start, Bound::Unbounded);
        let changed = kind.changed_since(revision);
        let unchanged = kind.objects.range::<Place, _>(range);
        let unchanged = unchanged.filter(|(place, _)| !changed.contains_key(place));
        let restored = changed.range::<Place, _>(range);
        let restored = restored.filter_map(|(place, then)| Some((place, (*then)?)));
        let page: BTreeMap<_, _> = unchanged.take(limit).chain(restored.take(limit)).collect();
        #[cfg(test)]
        super::work::count_read(page.len().min(limit));
        Ok(page.into_values().take(limit).cloned().collect())
    }

    /// The objects in a namespace whose labels match.
    pub(super) fn select(
        &self,
        resource: &Resource,
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
        resource: &Resource,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<Arc<Stored>> {
        let names = self.index.selecting(resource, namespace, labels);
        self.named(resource, namespace, names)
    }

    fn named<'a>(
        &self,
        resource: &Resource,
        namespace: &str,
        names: impl Iterator<Item = &'a String>,
    ) -> Vec<Arc<Stored>> {
        names
            .filter_map(|name| {
                self.get(&Key::new(resource.clone(), namespace, name))
                    .cloned()
            })
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
            let objects = self.list(kind, Some(namespace)).into_iter();
            objects.map(|object| (Key::of(kind.clone(), &object), object))
        });
        objects.collect()
    }

    /// The kinds served at present: the built-in ones, then the custom ones.
    pub(super) fn served(&self) -> Vec<Resource> {
        let custom = self.custom.values().cloned().map(Resource::Custom);
        Resource::ALL.into_iter().chain(custom).collect()
    }

    /// Serves the kind which a definition defines from now on, or no longer.
    fn serve_definition(&mut self, name: &str, kind: EventKind, definition: &Value) {
        let known = self
            .custom
            .get(name)
            .filter(|_| kind == EventKind::Modified);
        if known.is_some_and(|custom| custom.is_as_defined(definition)) {
            return;
        }
        let defined = match kind {
            EventKind::Added | EventKind::Modified => CustomResource::of_definition(definition),
            EventKind::Deleted => None,
        };
        match defined {
            Some(custom) => {
                // The new key says what the present definition says.
                let resource = Resource::Custom(custom.clone());
                let kind = self.kinds.remove(&resource);
                let kind = kind.unwrap_or_else(|| Kind::since(self.revision));
                self.kinds.insert(resource, kind);
                self.custom.insert(name.to_owned(), custom);
            }
            None => drop(self.custom.remove(name)),
        }
        self.forget_kinds();
    }

    /// Frees custom kinds which are no longer served, once they have neither
    /// objects nor watches.
    fn forget_kinds(&mut self) {
        let custom = &self.custom;
        self.kinds.retain(|resource, kind| {
            !matches!(resource, Resource::Custom(_))
                || custom.contains_key(&resource.qualified_name())
                || !kind.objects.is_empty()
                || kind.latest.receiver_count() > 0
        });
    }

    /// Every present object of a kind, as if it had just been added.
    pub(super) fn as_added(&self, resource: &Resource) -> VecDeque<Event> {
        let objects = self.list(resource, None).into_iter();
        objects
            .map(|object| Event {
                resource: resource.clone(),
                revision: object::resource_version(&object),
                kind: EventKind::Added,
                object,
                previous: None,
            })
            .collect()
    }

    /// A signal of the changes of a kind.
    pub(super) fn changed(&mut self, resource: &Resource) -> watch::Receiver<u64> {
        self.kind_mut(resource).latest.subscribe()
    }

    /// Every present object of some kinds, then every change of them.
    pub(super) fn subscribe(&mut self, kinds: Kinds) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let present = self.kinds.keys().filter(|kind| kinds.contain(kind));
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
        resource: &Resource,
        position: u64,
    ) -> Result<(Option<Event>, u64), Expired> {
        self.check_reachable(resource, position)?;
        let kind = self.kinds.get(resource);
        let next = kind.and_then(|kind| kind.events_after(position).next());
        Ok(match next {
            Some(event) => (Some(event.clone()), event.revision),
            None => (None, self.revision),
        })
    }

    fn kind_mut(&mut self, resource: &Resource) -> &mut Kind {
        let beginning = self.beginning_of(resource);
        let kind = self.kinds.entry(resource.clone());
        kind.or_insert_with(|| Kind::since(beginning))
    }

    /// The revision before which nothing is known of a kind without a history. A
    /// custom kind may have had one that was freed.
    fn beginning_of(&self, resource: &Resource) -> u64 {
        match resource {
            Resource::Custom(_) => self.revision,
            _ => 0,
        }
    }

    pub(super) fn check_reachable(&self, resource: &Resource, from: u64) -> Result<(), Expired> {
        let compacted = match self.kinds.get(resource) {
            Some(kind) => kind.compacted,
            None => self.beginning_of(resource),
        };
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
        let history_limit = self.history_limit;
        let kind = self.kind_mut(&key.resource);
        let place = (key.namespace.clone(), key.name.clone());
        let (previous, present) = match event_kind {
            EventKind::Added | EventKind::Modified => {
                let previous = kind.objects.insert(place, Arc::clone(&object));
                (previous, Some(&**object))
            }
            EventKind::Deleted => (kind.objects.remove(&place), None),
        };
        let event = Event {
            resource: key.resource.clone(),
            revision,
            kind: event_kind,
            object: Arc::clone(&object),
            previous,
        };
        kind.remember(event.clone(), history_limit);
        let before: Option<&Value> = event.previous.as_deref().map(|previous| &**previous);
        self.index.change(&key, before, present);
        self.subscribers.retain(|(kinds, subscriber)| {
            if kinds.contain(&key.resource) {
                subscriber.send(event.clone()).is_ok()
            } else {
                !subscriber.is_closed()
            }
        });
        object
    }
}

impl Kind {
    /// A kind of which nothing is known that was before this revision.
    fn since(revision: u64) -> Self {
        Self {
            compacted: revision,
            ..Self::default()
        }
    }

    fn remember(&mut self, event: Event, limit: usize) {
        let revision = event.revision;
        self.history_weight += event.object.weight();
        self.history.push_back(event);
        while self.history.len() > limit || self.history_weight > HISTORY_WEIGHT {
            let Some(forgotten) = self.history.pop_front() else {
                break;
            };
            self.history_weight -= forgotten.object.weight();
            self.compacted = forgotten.revision;
        }
        self.latest.send_replace(revision);
    }

    /// The events after a revision, the oldest first.
    fn events_after(&self, revision: u64) -> impl Iterator<Item = &Event> {
        let history = &self.history;
        let start = history.partition_point(|event| event.revision <= revision);
        history.range(start..)
    }

    /// What has changed since a revision, as it was then: nothing, if it is new.
    fn changed_since(&self, revision: u64) -> BTreeMap<Place, Option<&Arc<Stored>>> {
        let mut changed = BTreeMap::new();
        for event in self.events_after(revision) {
            let place = place_of(&event.object);
            changed.entry(place).or_insert(event.previous.as_ref());
        }
        changed
    }
}
