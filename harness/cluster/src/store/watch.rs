//! Following the changes of one kind of object.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::{Resource, Store};

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) resource: Resource,
    /// The store's revision which this change made; unique and increasing.
    pub(crate) revision: u64,
    pub(crate) kind: EventKind,
    /// The object after the change; for a deletion its last state.
    pub(crate) object: Arc<Value>,
    /// The object before the change, from which a selector can tell whether
    /// it enters or leaves.
    pub(crate) previous: Option<Arc<Value>>,
}

/// The events asked for are no longer (or not yet) in the history: list again.
#[derive(Debug, thiserror::Error)]
#[error("too old resource version: {from} ({oldest})")]
pub(crate) struct Expired {
    pub(crate) from: u64,
    /// The oldest revision from which a watch can start.
    pub(crate) oldest: u64,
}

/// A place in the history of one kind of object. It keeps no queue of its own:
/// a reader which is slower than the history is long gets [`Expired`].
#[derive(Debug)]
pub(crate) struct Watch {
    store: Store,
    resource: Resource,
    initial: VecDeque<Event>,
    position: u64,
    changed: watch::Receiver<u64>,
}

impl Watch {
    pub(super) fn new(
        store: Store,
        resource: Resource,
        initial: VecDeque<Event>,
        position: u64,
        changed: watch::Receiver<u64>,
    ) -> Self {
        Self {
            store,
            resource,
            initial,
            position,
            changed,
        }
    }

    /// The next change; waits for it. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Event, Expired> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if self.changed.changed().await.is_err() {
                // The store itself keeps the sender, and this watch the store.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next change if it has already happened.
    pub(crate) fn try_next(&mut self) -> Result<Option<Event>, Expired> {
        if let Some(event) = self.initial.pop_front() {
            return Ok(Some(event));
        }
        let (event, position) = self.store.event_after(self.resource, self.position)?;
        self.position = position;
        Ok(event)
    }

    /// Whether the next event shows an object which was there at the start.
    pub(crate) fn is_initial(&self) -> bool {
        !self.initial.is_empty()
    }

    /// Everything up to this revision has been returned by `next`.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }
}

/// Which kinds of object matter to someone.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Kinds {
    /// All there are, the custom ones too.
    All,
    Only(&'static [Resource]),
}

/// Wakes a controller, which then looks at the present state.
#[derive(Debug)]
pub(crate) struct Changes {
    store: Store,
    kinds: Kinds,
    seen: Option<u64>,
    changed: watch::Receiver<u64>,
}

impl Changes {
    pub(super) fn new(store: Store, kinds: Kinds, changed: watch::Receiver<u64>) -> Self {
        Self {
            store,
            kinds,
            seen: None,
            changed,
        }
    }

    /// Returns when something has changed since the last call; the first call
    /// returns at once. Many changes in between count as one.
    pub(crate) async fn next(&mut self) {
        loop {
            let latest = Some(self.store.latest_change(self.kinds));
            if self.seen != latest {
                self.seen = latest;
                return;
            }
            if self.changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
