//! The cluster's memory: objects as JSON values under one global revision.
//!
//! Writes are atomic, each effective write makes exactly one [`Event`], and a
//! [`Watch`] replays and then follows them without a gap. What belongs to every
//! object is kept here (uid, times, versions, generation, finalizers, graceful
//! deletion); what belongs to one kind only is decided by the API and the
//! controllers. The store knows nothing of HTTP.
//!
//! A write is decided over the present state by the pure functions of `write`
//! and `deletion`; `State::commit` carries it out.

mod deletion;
mod holdings;
mod index;
mod key;
mod names;
mod resource;
mod state;
mod stored;
mod watch;
#[cfg(test)]
pub(crate) mod work;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::clock;
use crate::managed_fields::{Writer, record_update};
use crate::selector::Selector;
pub(crate) use deletion::{
    DeleteOptions, Deletion, FOREGROUND_FINALIZER, ORPHAN_FINALIZER, Propagation,
};
pub use holdings::Holdings;
pub(crate) use key::Key;
pub(crate) use names::random_uid;
pub(crate) use resource::{Description, Names, Resource, Subresource, VERBS, api_version};
use state::{Place, State};
pub(crate) use stored::Stored;
use watch::Initial;
pub(crate) use watch::{Event, EventKind, Expired, Kinds, Watch};
use write::Decision;

/// How many events of a kind a watch can look back. Older ones are forgotten,
/// and a watch that asks for them is told to list again.
const HISTORY_EVENTS: usize = 1024;

/// A handle; clones share the same objects.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    state: Arc<Mutex<State>>,
    writes: Writes,
    /// The component whose writes are recorded in `metadata.managedFields`.
    component: Option<&'static str>,
}

/// What becomes of the writes through a handle.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum Writes {
    Kept,
    /// Decided and answered, but not carried out.
    Discarded,
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
    #[error("{} cannot be created while their custom resource definition is terminating", resource.qualified_name())]
    DefinitionTerminating { resource: Resource },
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "who asks names a kind, nearly always a constant"
)]
impl Store {
    /// An empty store, with the namespaces every cluster has.
    pub(crate) fn new() -> Self {
        Self::with_history(HISTORY_EVENTS)
    }

    /// A store that remembers `history_limit` events of each kind.
    pub(crate) fn with_history(history_limit: usize) -> Self {
        let store = Self {
            state: Arc::new(Mutex::new(State::new(history_limit))),
            writes: Writes::Kept,
            component: None,
        };
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
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

    /// The same objects, but each write is a dry run: it is refused or answered
    /// as it would be, and changes nothing.
    pub(crate) fn dry_run(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            writes: Writes::Discarded,
            component: self.component,
        }
    }

    /// The same objects, but what is written is managed by a component of the
    /// cluster. Without one, whoever writes notes the managers.
    pub(crate) fn of_component(&self, component: &'static str) -> Self {
        Self {
            component: Some(component),
            ..self.clone()
        }
    }

    /// How much is kept.
    pub(crate) fn holdings(&self) -> Holdings {
        self.lock().holdings()
    }

    /// The kinds served at present: the built-in ones, then the custom ones.
    pub(crate) fn served(&self) -> Vec<Resource> {
        self.lock().served()
    }

    /// One object. `namespace` is empty for kinds without namespaces.
    pub(crate) fn get(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Stored>> {
        self.lock()
            .get(&Key::new(resource, namespace, name))
            .cloned()
    }

    /// All objects of a kind ordered by namespace and name, and the revision at
    /// which this is the whole truth.
    pub(crate) fn list(
        &self,
        resource: Resource,
        namespace: Option<&str>,
    ) -> (Vec<Arc<Stored>>, u64) {
        let state = self.lock();
        (state.list(&resource, namespace), state.revision)
    }

    /// How many objects of a kind there are.
    pub(crate) fn count(&self, resource: Resource) -> usize {
        self.lock().count(&resource)
    }

    /// All objects of a kind as they were at `revision`, if its history reaches
    /// back to it.
    pub(crate) fn list_at(
        &self,
        resource: Resource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Stored>>, Expired> {
        self.lock().list_at(&resource, namespace, revision)
    }

    /// The revision of the latest change.
    pub(crate) fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// The objects of a kind in a namespace whose labels match. Others which
    /// share none of the labels cost nothing.
    pub(crate) fn select(
        &self,
        resource: Resource,
        namespace: &str,
        selector: &Selector,
    ) -> Vec<Arc<Stored>> {
        self.lock().select(&resource, namespace, selector)
    }

    /// The objects of a kind in a namespace whose `spec.selector` may match these
    /// labels: whether it does is for the caller to decide.
    pub(crate) fn selecting(
        &self,
        resource: Resource,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<Arc<Stored>> {
        self.lock().selecting(&resource, namespace, labels)
    }

    /// The objects of any kind with an owner reference to this uid.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(Key, Arc<Stored>)> {
        self.lock().dependents(uid)
    }

    /// All objects in a namespace, of any kind.
    pub(crate) fn content(&self, namespace: &str) -> Vec<(Key, Arc<Stored>)> {
        self.lock().content(namespace)
    }

    /// Whether a namespace holds an object of any kind.
    pub(crate) fn has_content(&self, namespace: &str) -> bool {
        self.lock().has_content(namespace)
    }

    /// Adds an object, filling in what the server owns. The namespace must exist.
    pub(crate) fn create(
        &self,
        resource: Resource,
        mut object: Value,
    ) -> Result<Arc<Stored>, StoreError> {
        self.record(&resource, &Value::Null, &mut object);
        let (created, _) = self.write(|state| write::create(state, &resource, object))?;
        Ok(created)
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
    ) -> Result<Arc<Stored>, StoreError> {
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
    ) -> Result<Arc<Stored>, E> {
        let key = Key::new(resource.clone(), namespace, name);
        let recorded = |object: &mut Value| {
            let before = self.component.map(|_| object.clone());
            change(object)?;
            if let Some(before) = before.filter(|before| before != object) {
                self.record(&resource, &before, object);
            }
            Ok::<_, E>(())
        };
        let (updated, _) = self.write(|state| write::update(state, key, recorded))?;
        Ok(updated)
    }

    /// Notes what this handle's component changed. A write which changes the
    /// status is one of the status, as components do it.
    fn record(&self, resource: &Resource, before: &Value, after: &mut Value) {
        let Some(component) = self.component else {
            return;
        };
        let subresources = resource.description().subresources;
        let is_status = subresources.contains(&Subresource::Status)
            && !before.is_null()
            && before["status"] != after["status"];
        let part = if is_status {
            Subresource::Status.name()
        } else {
            ""
        };
        let writer = Writer::new(resource, part, component, clock::now());
        record_update(before, after, &writer);
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
        let key = Key::new(resource, namespace, name);
        let (object, change) = self.write(|state| deletion::delete(state, key, options))?;
        Ok(match change {
            Some(EventKind::Deleted) => Deletion::Removed(object),
            Some(EventKind::Added | EventKind::Modified) | None => Deletion::Pending(object),
        })
    }

    /// Follows a kind. From a revision: all changes after it. From `None`: first
    /// every present object as [`EventKind::Added`], then the changes.
    pub(crate) fn watch(&self, resource: Resource, from: Option<u64>) -> Result<Watch, Expired> {
        let mut state = self.lock();
        let (initial, position) = match from {
            Some(from) => {
                state.check_reachable(&resource, from)?;
                (None, from)
            }
            None => (Some(Initial::default()), state.revision),
        };
        let changed = state.changed(&resource);
        drop(state);
        Ok(Watch::new(
            self.clone(),
            resource,
            initial,
            position,
            changed,
        ))
    }

    /// Every present object of some kinds as [`EventKind::Added`], then every
    /// change of them; none is lost. For readers inside the cluster, which keep
    /// up: what they have not yet received stays in memory.
    pub(crate) fn subscribe(&self, kinds: Kinds) -> mpsc::UnboundedReceiver<Event> {
        self.lock().subscribe(kinds)
    }

    fn page_at(
        &self,
        resource: &Resource,
        after: Option<&Place>,
        revision: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Stored>>, Expired> {
        self.lock().page_at(resource, after, revision, limit)
    }

    fn event_after(
        &self,
        resource: &Resource,
        position: u64,
    ) -> Result<(Option<Event>, u64), Expired> {
        self.lock().event_after(resource, position)
    }

    /// Decides a write and carries it out. Tells what it did, if anything.
    fn write<E>(
        &self,
        decide: impl FnOnce(&State) -> Result<Decision, E>,
    ) -> Result<(Arc<Stored>, Option<EventKind>), E> {
        let mut state = self.lock();
        Ok(match decide(&state)? {
            Decision::Keep(object) => (object, None),
            Decision::Commit(change) => {
                let kind = change.kind;
                let object = match self.writes {
                    Writes::Kept => state.commit(change),
                    Writes::Discarded => Arc::new(Stored::new(change.object)),
                };
                (object, Some(kind))
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A change that panicked was working on a copy: the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
