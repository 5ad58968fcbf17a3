//! The cluster's memory: objects as JSON values under one global revision.
//!
//! Writes are atomic, each effective write makes exactly one [`Event`], and a
//! [`Watch`] replays and then follows them without a gap. What belongs to every
//! object is kept here (uid, times, versions, generation, finalizers, graceful
//! deletion); what belongs to one kind only is decided by the API and the
//! controllers. The store knows nothing of HTTP.

mod resource;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::SignedDuration;
use rand::Rng as _;
use serde_json::{Value, json};

use crate::custom::CustomResource;
use crate::{clock, object};
pub(crate) use resource::{Description, Resource, Subresource, VERBS, api_version};
pub(crate) use watch::{Changes, Event, EventKind, Expired, Kinds, Watch};

/// How many events a watch can look back. Older ones are forgotten, and a
/// watch that asks for them is told to list again.
const HISTORY_EVENTS: usize = 4096;

const DEFAULT_GRACE_SECONDS: u64 = 30;

/// Random name suffixes: letters and digits which spell no words and which
/// nobody confuses.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

/// Finalizer by which dependents are deleted before their owner.
pub(crate) const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
/// Finalizer by which dependents lose their owner reference before the owner goes.
pub(crate) const ORPHAN_FINALIZER: &str = "orphan";

/// A handle; clones share the same objects.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// The latest revision, to wake watches.
    revision: tokio::sync::watch::Sender<u64>,
}

type Key = (Resource, String, String);

#[derive(Clone, Debug)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Event>,
    history_limit: usize,
    /// Revision of the newest event that was forgotten.
    compacted: u64,
    /// Revision of the latest change of each kind.
    latest: BTreeMap<Resource, u64>,
    /// The custom kinds which are served, by the names of their definitions.
    custom: BTreeMap<String, CustomResource>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{} \"{name}\" not found", resource.qualified_name())]
    NotFound { resource: Resource, name: String },
    #[error("{} \"{name}\" already exists", resource.qualified_name())]
    AlreadyExists { resource: Resource, name: String },
    #[error("operation cannot be fulfilled on {} \"{name}\": {reason}", resource.qualified_name())]
    Conflict {
        resource: Resource,
        name: String,
        reason: String,
    },
    #[error("name or generateName is required")]
    NameRequired { resource: Resource },
    #[error(
        "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
        resource.qualified_name()
    )]
    NamespaceTerminating {
        resource: Resource,
        name: String,
        namespace: String,
    },
}

/// What becomes of the objects owned by a deleted one.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub(crate) enum Propagation {
    /// Deleted afterwards by the garbage collector.
    #[default]
    Background,
    /// Deleted first.
    Foreground,
    /// Kept.
    Orphan,
}

/// How to delete.
#[derive(Clone, Default, Debug)]
pub(crate) struct DeleteOptions {
    /// Pods only; absent means the pod's own grace period.
    pub(crate) grace_seconds: Option<u64>,
    pub(crate) propagation: Propagation,
    /// Delete only the object with this uid.
    pub(crate) uid: Option<String>,
    /// Delete only this version of the object.
    pub(crate) resource_version: Option<u64>,
}

impl DeleteOptions {
    /// Removes the object at once, as the kubelet does when a pod's processes
    /// have ended. Finalizers still hold it.
    pub(crate) fn immediately(uid: &str) -> Self {
        Self {
            grace_seconds: Some(0),
            uid: Some(uid.to_owned()),
            ..Self::default()
        }
    }
}

/// What a deletion did.
#[derive(Clone, Debug)]
pub(crate) enum Deletion {
    /// The object is gone; this was its last state.
    Removed(Arc<Value>),
    /// The object stays until its grace period or finalizers are over.
    Pending(Arc<Value>),
}

impl Store {
    /// An empty store, with the namespaces every cluster has.
    pub(crate) fn new() -> Self {
        Self::with_history(HISTORY_EVENTS)
    }

    /// A store that remembers `history_limit` events.
    pub(crate) fn with_history(history_limit: usize) -> Self {
        let store = Self::from_state(State {
            revision: 0,
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            history_limit,
            compacted: 0,
            latest: BTreeMap::new(),
            custom: BTreeMap::new(),
        });
        for name in ["default", "kube-system"] {
            let namespace = json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            });
            store
                .create(Resource::Namespaces, namespace)
                .expect("the store is empty");
        }
        store
    }

    fn from_state(state: State) -> Self {
        let (revision, _) = tokio::sync::watch::channel(state.revision);
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            revision,
        }))
    }

    /// A copy that shares nothing: what is written there is a dry run.
    pub(crate) fn scratch_copy(&self) -> Self {
        let state = self.lock().clone();
        Self::from_state(state)
    }

    /// The kinds served at present: the built-in ones, then the custom ones.
    pub(crate) fn served(&self) -> Vec<Resource> {
        let custom = self
            .lock()
            .custom
            .values()
            .copied()
            .map(Resource::Custom)
            .collect::<Vec<_>>();
        Resource::ALL.into_iter().chain(custom).collect()
    }

    /// One object. `namespace` is empty for kinds without namespaces.
    pub(crate) fn get(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        self.lock()
            .objects
            .get(&key(resource, namespace, name))
            .cloned()
    }

    /// All objects of a kind ordered by namespace and name, and the revision at
    /// which this is the whole truth.
    pub(crate) fn list(
        &self,
        resource: Resource,
        namespace: Option<&str>,
    ) -> (Vec<Arc<Value>>, u64) {
        let state = self.lock();
        (state.list(resource, namespace), state.revision)
    }

    /// Adds an object, filling in what the server owns. The namespace must exist.
    pub(crate) fn create(
        &self,
        resource: Resource,
        object: Value,
    ) -> Result<Arc<Value>, StoreError> {
        self.write(|state| state.create(resource, object))
    }

    /// Changes an object under the lock: read, modify, write in one step.
    /// Nothing happens when `change` changes nothing. `change` must not use the
    /// store.
    pub(crate) fn update(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, StoreError> {
        self.try_update(resource, namespace, name, |object| {
            change(object);
            Ok(())
        })
    }

    /// Like [`Store::update`], for a change which may be refused.
    pub(crate) fn try_update<E: From<StoreError>>(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value) -> Result<(), E>,
    ) -> Result<Arc<Value>, E> {
        self.write(|state| state.update(resource, namespace, name, change))
    }

    /// Deletes an object, or marks it when finalizers or a pod's grace period
    /// keep it. A later deletion can only shorten the grace.
    pub(crate) fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deletion, StoreError> {
        self.write(|state| state.delete(resource, namespace, name, options))
    }

    /// Follows a kind. From a revision: all changes after it. From `None`: first
    /// every present object as [`EventKind::Added`], then the changes.
    pub(crate) fn watch(&self, resource: Resource, from: Option<u64>) -> Result<Watch, Expired> {
        let changed = self.0.revision.subscribe();
        let state = self.lock();
        let (initial, position) = match from {
            Some(from) => {
                state.check_reachable(from)?;
                (VecDeque::new(), from)
            }
            None => (state.as_added(resource), state.revision),
        };
        drop(state);
        Ok(Watch::new(
            self.clone(),
            resource,
            initial,
            position,
            changed,
        ))
    }

    /// Tells when any of these kinds changed, without telling what.
    pub(crate) fn changes(&self, kinds: Kinds) -> Changes {
        Changes::new(self.clone(), kinds, self.0.revision.subscribe())
    }

    fn latest_change(&self, kinds: Kinds) -> u64 {
        let state = self.lock();
        match kinds {
            Kinds::All => state.revision,
            Kinds::Only(resources) => {
                let latest = resources
                    .iter()
                    .filter_map(|resource| state.latest.get(resource));
                latest.copied().max().unwrap_or_default()
            }
        }
    }

    /// The first event of a kind after `position`, and the position behind it;
    /// without one, the position up to which there is none.
    fn event_after(
        &self,
        resource: Resource,
        position: u64,
    ) -> Result<(Option<Event>, u64), Expired> {
        let state = self.lock();
        state.check_reachable(position)?;
        let start = state
            .history
            .partition_point(|event| event.revision <= position);
        let found = state
            .history
            .range(start..)
            .find(|event| event.resource == resource);
        Ok(match found {
            Some(event) => (Some(event.clone()), event.revision),
            None => (None, state.revision),
        })
    }

    fn write<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let outcome = action(&mut state);
        let revision = state.revision;
        drop(state);
        self.0.revision.send_if_modified(|latest| {
            let newer = revision > *latest;
            *latest = revision.max(*latest);
            newer
        });
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A change that panicked was working on a copy: the state is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn list(&self, resource: Resource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let start = key(resource, namespace.unwrap_or_default(), "");
        let wanted = |(kind, place, _): &Key| {
            *kind == resource && namespace.is_none_or(|namespace| namespace == place)
        };
        let entries = self
            .objects
            .range(start..)
            .take_while(|(key, _)| wanted(key));
        entries.map(|(_, object)| Arc::clone(object)).collect()
    }

    fn as_added(&self, resource: Resource) -> VecDeque<Event> {
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

    fn check_reachable(&self, from: u64) -> Result<(), Expired> {
        // A revision to come is of another cluster's life: it says nothing here.
        if from < self.compacted || from > self.revision {
            return Err(Expired {
                from,
                oldest: self.compacted,
            });
        }
        Ok(())
    }

    fn create(&mut self, resource: Resource, mut object: Value) -> Result<Arc<Value>, StoreError> {
        let namespace = if resource.namespaced() {
            object::namespace(&object).to_owned()
        } else {
            String::new()
        };
        let name = self.name_for(resource, &namespace, &object)?;
        if resource.namespaced() {
            self.check_namespace(resource, &namespace, &name)?;
        }
        let key = (resource, namespace, name);
        if self.objects.contains_key(&key) {
            return Err(StoreError::AlreadyExists {
                resource,
                name: key.2,
            });
        }
        object["apiVersion"] = resource.api_version().into();
        object["kind"] = resource.kind().into();
        let metadata = object::map_at(&mut object, "metadata");
        metadata["name"] = key.2.clone().into();
        if resource.namespaced() {
            metadata["namespace"] = key.1.clone().into();
        }
        if metadata["uid"].is_null() {
            metadata["uid"] = random_uid().into();
        }
        metadata["creationTimestamp"] = clock::rfc3339(clock::now()).into();
        if resource.description().has_generation {
            metadata["generation"] = 1.into();
        }
        if let Some(entries) = metadata.as_object_mut() {
            entries.remove("deletionTimestamp");
            entries.remove("deletionGracePeriodSeconds");
        }
        Ok(self.commit(key, EventKind::Added, object))
    }

    fn name_for(
        &self,
        resource: Resource,
        namespace: &str,
        object: &Value,
    ) -> Result<String, StoreError> {
        let name = object::name(object);
        if !name.is_empty() {
            return Ok(name.to_owned());
        }
        let prefix = object::text(object, "/metadata/generateName");
        if prefix.is_empty() {
            return Err(StoreError::NameRequired { resource });
        }
        loop {
            let name = format!("{prefix}{}", random_suffix());
            if !self.objects.contains_key(&key(resource, namespace, &name)) {
                return Ok(name);
            }
        }
    }

    fn check_namespace(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<(), StoreError> {
        match self.objects.get(&key(Resource::Namespaces, "", namespace)) {
            None => Err(StoreError::NotFound {
                resource: Resource::Namespaces,
                name: namespace.to_owned(),
            }),
            Some(found) if object::is_deleting(found) => Err(StoreError::NamespaceTerminating {
                resource,
                name: name.to_owned(),
                namespace: namespace.to_owned(),
            }),
            Some(_) => Ok(()),
        }
    }

    fn update<E: From<StoreError>>(
        &mut self,
        resource: Resource,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value) -> Result<(), E>,
    ) -> Result<Arc<Value>, E> {
        let before = self.existing(resource, namespace, name)?;
        let mut after = Value::clone(&before);
        change(&mut after)?;
        keep_server_fields(&before, &mut after);
        if after == *before {
            return Ok(before);
        }
        if resource.description().has_generation && desired_state_changed(resource, &before, &after)
        {
            let generation = before["metadata"]["generation"]
                .as_u64()
                .unwrap_or_default();
            after["metadata"]["generation"] = (generation + 1).into();
        }
        let kind = if is_deletable(resource, &after) {
            EventKind::Deleted
        } else {
            EventKind::Modified
        };
        Ok(self.commit(key(resource, namespace, name), kind, after))
    }

    fn delete(
        &mut self,
        resource: Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deletion, StoreError> {
        let before = self.existing(resource, namespace, name)?;
        check_preconditions(resource, name, &before, options)?;
        let grace = match resource {
            Resource::Pods => pod_grace_seconds(&before, options.grace_seconds),
            _ => 0,
        };
        let mut after = Value::clone(&before);
        add_propagation_finalizer(&mut after, options.propagation);
        mark_deleted(resource, &mut after, grace);
        let key = key(resource, namespace, name);
        if is_deletable(resource, &after) {
            let removed = self.commit(key, EventKind::Deleted, after);
            return Ok(Deletion::Removed(removed));
        }
        if after == *before {
            return Ok(Deletion::Pending(before));
        }
        Ok(Deletion::Pending(self.commit(
            key,
            EventKind::Modified,
            after,
        )))
    }

    fn existing(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, StoreError> {
        self.objects
            .get(&key(resource, namespace, name))
            .cloned()
            .ok_or_else(|| StoreError::NotFound {
                resource,
                name: name.to_owned(),
            })
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

    /// The only place where objects, revision and history change: together.
    fn commit(&mut self, key: Key, kind: EventKind, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(object);
        let resource = key.0;
        if resource == Resource::CustomResourceDefinitions {
            self.serve_definition(&key.2, kind, &object);
        }
        let previous = match kind {
            EventKind::Added | EventKind::Modified => self.objects.insert(key, Arc::clone(&object)),
            EventKind::Deleted => self.objects.remove(&key),
        };
        let revision = self.revision;
        self.latest.insert(resource, revision);
        self.history.push_back(Event {
            resource,
            revision,
            kind,
            object: Arc::clone(&object),
            previous,
        });
        while self.history.len() > self.history_limit {
            if let Some(forgotten) = self.history.pop_front() {
                self.compacted = forgotten.revision;
            }
        }
        object
    }
}

fn key(resource: Resource, namespace: &str, name: &str) -> Key {
    (resource, namespace.to_owned(), name.to_owned())
}

/// Fields which only the store itself writes.
fn keep_server_fields(before: &Value, after: &mut Value) {
    after["apiVersion"] = before["apiVersion"].clone();
    after["kind"] = before["kind"].clone();
    let metadata = object::map_at(after, "metadata");
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
    ] {
        match before["metadata"].get(field) {
            Some(value) => metadata[field] = value.clone(),
            None => {
                if let Some(entries) = metadata.as_object_mut() {
                    entries.remove(field);
                }
            }
        }
    }
}

/// Whether anything but metadata and status differs. A status without a path of
/// its own is a field like any other.
fn desired_state_changed(resource: Resource, before: &Value, after: &Value) -> bool {
    let subresources = resource.description().subresources;
    let status_apart = subresources.contains(&Subresource::Status);
    let desired = |object: &Value| -> BTreeMap<String, Value> {
        let fields = object.as_object().into_iter().flatten();
        fields
            .filter(|(field, _)| match field.as_str() {
                "metadata" => false,
                "status" => !status_apart,
                _ => true,
            })
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect()
    };
    desired(before) != desired(after)
}

fn check_preconditions(
    resource: Resource,
    name: &str,
    object: &Value,
    options: &DeleteOptions,
) -> Result<(), StoreError> {
    let conflict = |reason: String| StoreError::Conflict {
        resource,
        name: name.to_owned(),
        reason,
    };
    if let Some(uid) = options
        .uid
        .as_deref()
        .filter(|uid| *uid != object::uid(object))
    {
        return Err(conflict(format!(
            "the uid is {}, not {uid}",
            object::uid(object)
        )));
    }
    let version = object::resource_version(object);
    match options.resource_version {
        Some(expected) if expected != version => Err(conflict(format!(
            "the resourceVersion is {version}, not {expected}"
        ))),
        _ => Ok(()),
    }
}

/// The grace period of a pod's deletion. Nothing has to end in a pod that has
/// no node or whose containers have all ended.
fn pod_grace_seconds(pod: &Value, asked: Option<u64>) -> u64 {
    let ended = matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed");
    if ended || object::text(pod, "/spec/nodeName").is_empty() {
        return 0;
    }
    let own = pod
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_u64);
    asked.or(own).unwrap_or(DEFAULT_GRACE_SECONDS)
}

fn add_propagation_finalizer(object: &mut Value, propagation: Propagation) {
    let finalizer = match propagation {
        Propagation::Background => return,
        Propagation::Foreground => FOREGROUND_FINALIZER,
        Propagation::Orphan => ORPHAN_FINALIZER,
    };
    if object::finalizers(object).any(|present| present == finalizer) {
        return;
    }
    match object["metadata"]["finalizers"].as_array_mut() {
        Some(present) => present.push(finalizer.into()),
        None => object["metadata"]["finalizers"] = json!([finalizer]),
    }
}

fn mark_deleted(resource: Resource, object: &mut Value, grace_seconds: u64) {
    let earlier = object["metadata"]["deletionGracePeriodSeconds"].as_u64();
    if object::is_deleting(object) && earlier.is_none_or(|earlier| earlier <= grace_seconds) {
        return;
    }
    let grace = SignedDuration::from_secs(i64::try_from(grace_seconds).unwrap_or(i64::MAX));
    let end = clock::now()
        .saturating_add(grace)
        .unwrap_or_else(|_| clock::now());
    object["metadata"]["deletionTimestamp"] = clock::rfc3339(end).into();
    object["metadata"]["deletionGracePeriodSeconds"] = grace_seconds.into();
    if resource == Resource::Namespaces {
        object["status"]["phase"] = "Terminating".into();
    }
}

/// Whether nothing holds a deleted object any longer.
fn is_deletable(resource: Resource, object: &Value) -> bool {
    let grace_over = match resource {
        Resource::Pods => object["metadata"]["deletionGracePeriodSeconds"].as_u64() == Some(0),
        _ => true,
    };
    let namespace_empty = match resource {
        Resource::Namespaces => object::strings(object, "/spec/finalizers").next().is_none(),
        _ => true,
    };
    object::is_deleting(object)
        && object::finalizers(object).next().is_none()
        && grace_over
        && namespace_empty
}

/// A random (version 4) UUID.
pub(crate) fn random_uid() -> String {
    let bits: u128 = rand::rng().random();
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn random_suffix() -> String {
    let mut random = rand::rng();
    (0..SUFFIX_LENGTH)
        .map(|_| char::from(SUFFIX_ALPHABET[random.random_range(0..SUFFIX_ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests;
