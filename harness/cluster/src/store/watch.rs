//! Following the changes of one kind of object.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Resource, Store, Stored};

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
    pub(crate) object: Arc<Stored>,
    /// The object before the change, from which a selector can tell whether
    /// it enters or leaves.
    pub(crate) previous: Option<Arc<Stored>>,
}

/// The events asked for are no longer (or not yet) in the history: list again.
#[derive(Debug, thiserror::Error)]
#[error("too old resource version: {from} ({oldest})")]
pub(crate) struct Expired {
    pub(crate) from: u64,
    /// The oldest revision from which a watch can start.
    pub(crate) oldest: u64,
}

/// Which kinds of object matter to someone.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Kinds {
    /// All there are, the custom ones too.
    All,
    Only(&'static [Resource]),
}

impl Kinds {
    pub(super) fn contain(self, resource: Resource) -> bool {
        match self {
            Self::All => true,
            Self::Only(kinds) => kinds.contains(&resource),
        }
    }
}

/// A place in the history of one kind of object. It keeps no queue of its own:
/// a reader which is slower than the history is long gets [`Expired`].
#[derive(Debug)]
pub(crate) struct Watch {
    store: Store,
    resource: Resource,
    initial: VecDeque<Event>,
    position: u64,
    /// Signals changes of this kind, and of no other.
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

    /// Everything of this kind up to this revision has been returned by `next`.
    pub(crate) fn position(&mut self) -> u64 {
        if self.initial.is_empty()
            && let Ok((None, position)) = self.store.event_after(self.resource, self.position)
        {
            self.position = position;
        }
        self.position
    }
}
